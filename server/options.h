// Everything that can be set about the daemon. Plain values; server/option_table.h says how each is
// spelled, its range and what it means.
#ifndef PREFIXD_SERVER_OPTIONS_H_
#define PREFIXD_SERVER_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/options.h"

namespace prefixd {

struct ServerOptions {
  EngineOptions engine;

  std::string config;                      // Path of the YAML file; empty: none.
  std::string listen = "127.0.0.1:50051";  // HOST:PORT.
  std::string port_file;                   // Gets the port in force; empty: none.
  bool insecure = false;                   // Allows plain text beyond the loopback interface.
  bool reflection = true;

  uint64_t max_request_bytes = 32 << 20;        // Of one message.
  uint64_t max_connection_memory = 1ull << 30;  // Messages and buffers of all connections.
  int32_t max_streams = 128;                    // Calls at once on one connection.

  absl::Duration default_deadline = absl::Seconds(120);
  absl::Duration max_deadline = absl::Seconds(600);
  absl::Duration slow_reader_timeout = absl::Seconds(30);

  absl::Duration drain_delay = absl::Seconds(5);
  absl::Duration drain_timeout = absl::Seconds(60);

  // Paths; empty: none.
  std::string tenants_file;  // Tenants and the digests of their tokens.
  std::string tls_cert;      // Of all listeners.
  std::string tls_key;
  std::string tls_client_ca;    // Clients must show a certificate that it issued.
  std::string admin_listen;     // HOST:PORT of AdminService alone.
  std::string admin_port_file;  // Gets its port in force.

  std::string log_level = "info";
  std::string log_format = "text";

  std::string metrics_listen;           // HOST:PORT for HTTP; empty: off.
  std::string metrics_port_file;        // Gets the port in force; empty: none.
  std::string metrics_compat = "none";  // "vllm": also under the names of vLLM.
};

struct ListenAddress {
  std::string host;       // Without brackets.
  int port = 0;           // 0: the system picks one.
  bool loopback = false;  // Reachable from this machine only.
};

// Parses HOST:PORT; an IPv6 host stands in brackets. Errors: INVALID_ARGUMENT.
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text);

// Whether AdminService is served with the other services: not beside tenants, and not if it has a
// listener of its own.
inline bool AdminOnDataListener(const ServerOptions& options) {
  return options.admin_listen.empty() && options.tenants_file.empty();
}

// Checks that nobody but operators reaches the admin listener. `operators_have_tokens`: the tenants
// file names some. Errors: INVALID_ARGUMENT.
absl::Status CheckAdminListener(const ServerOptions& options, bool operators_have_tokens);

// Checks what concerns several options at once. The range of each alone was checked when it was
// set. Errors: INVALID_ARGUMENT that names the options.
absl::Status ValidateServerOptions(const ServerOptions& options);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_OPTIONS_H_
