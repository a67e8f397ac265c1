#include "server/options.h"

#include <arpa/inet.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd {
namespace {

bool IsLoopback(const std::string& host) {
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return host == "localhost";
}

absl::Status BadListen(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("listen: `", text, "` ", why, "; write HOST:PORT, such as 127.0.0.1:50051"));
}

// No character that would mean something else to the listener, such as a list or an encrypted port.
absl::Status CheckMetricsListen(const std::string& text) {
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("metrics_", address.status().message()));
  }
  for (const char c : address->host) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains(".:-_", c))
      continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "metrics_listen: `", text, "` has a host with characters beyond [A-Za-z0-9.:_-]"));
  }
  return absl::OkStatus();
}

absl::Status CheckTlsPaths(const ServerOptions& options) {
  if (options.tls_cert.empty() != options.tls_key.empty()) {
    return absl::InvalidArgumentError(options.tls_key.empty()
                                          ? "tls_cert is set, but tls_key is not; TLS needs both"
                                          : "tls_key is set, but tls_cert is not; TLS needs both");
  }
  if (!options.tls_client_ca.empty() && options.tls_cert.empty()) {
    return absl::InvalidArgumentError("tls_client_ca is set, but tls_cert and tls_key are not");
  }
  return absl::OkStatus();
}

// Beyond the loopback interface traffic is encrypted and callers are known.
absl::Status CheckExposure(const ServerOptions& options, const ListenAddress& address) {
  if (address.loopback || options.insecure) return absl::OkStatus();
  const std::string reachable =
      absl::StrCat("listen: `", options.listen, "` can be reached from other machines without ");
  if (options.tls_cert.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(reachable,
                     "encryption; listen on 127.0.0.1, set tls_cert and tls_key, or allow it with "
                     "--insecure"));
  }
  if (options.tenants_file.empty() && options.tls_client_ca.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(reachable,
                     "authentication; listen on 127.0.0.1, set tenants_file or tls_client_ca, or "
                     "allow it with --insecure"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ListenAddress> ParseAdminListen(const ServerOptions& options) {
  absl::StatusOr<ListenAddress> address = ParseListenAddress(options.admin_listen);
  if (address.ok()) return address;
  return absl::InvalidArgumentError(absl::StrCat("admin_", address.status().message()));
}

absl::Status CheckAdminAddress(const ServerOptions& options, const ListenAddress& data) {
  if (options.admin_listen.empty()) {
    if (options.admin_port_file.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("admin_port_file is set, but admin_listen is not");
  }
  PREFIXD_ASSIGN_OR_RETURN(const ListenAddress admin, ParseAdminListen(options));
  if (admin.port != 0 && admin.port == data.port && admin.host == data.host) {
    return absl::InvalidArgumentError(absl::StrCat(
        "admin_listen: `", options.admin_listen, "` is the address of listen; take another port"));
  }
  return absl::OkStatus();
}

bool OnlyDigits(absl::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == absl::string_view::npos;
}

}  // namespace

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return BadListen(text, "has no port");
  absl::string_view host = text.substr(0, colon);
  const absl::string_view port = text.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ':')) {
    return BadListen(text, "is an IPv6 address without brackets");
  }
  if (host.empty()) return BadListen(text, "has no host");
  ListenAddress address{.host = std::string(host)};
  if (!OnlyDigits(port) || !absl::SimpleAtoi(port, &address.port) || address.port > 65535) {
    return BadListen(text, "has a port outside [0, 65535]");
  }
  address.loopback = IsLoopback(address.host);
  return address;
}

absl::Status CheckAdminListener(const ServerOptions& options, bool operators_have_tokens) {
  if (options.admin_listen.empty()) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const ListenAddress address, ParseAdminListen(options));
  if (address.loopback || options.insecure) return absl::OkStatus();
  const std::string reachable = absl::StrCat("admin_listen: `", options.admin_listen,
                                             "` can be reached from other machines without ");
  if (options.tls_cert.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(reachable,
                     "encryption; listen on 127.0.0.1, set tls_cert and tls_key, or allow it with "
                     "--insecure"));
  }
  if (!operators_have_tokens && options.tls_client_ca.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(reachable,
                     "authentication; listen on 127.0.0.1, set tls_client_ca or `admin` in the "
                     "tenants file, or allow it with --insecure"));
  }
  return absl::OkStatus();
}

absl::Status ValidateServerOptions(const ServerOptions& options) {
  if (options.engine.model_path.empty()) {
    return absl::InvalidArgumentError("model is not set; name a model directory with --model DIR");
  }
  PREFIXD_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options.listen));
  PREFIXD_RETURN_IF_ERROR(CheckTlsPaths(options));
  PREFIXD_RETURN_IF_ERROR(CheckExposure(options, address));
  PREFIXD_RETURN_IF_ERROR(CheckAdminAddress(options, address));
  if (!options.metrics_listen.empty()) {
    const absl::Status status = CheckMetricsListen(options.metrics_listen);
    if (!status.ok()) return status;
  }
  if (options.default_deadline > options.max_deadline) {
    return absl::InvalidArgumentError(
        absl::StrCat("default_deadline is ", absl::FormatDuration(options.default_deadline),
                     ", more than max_deadline, ", absl::FormatDuration(options.max_deadline)));
  }
  if (options.engine.max_image_bytes >= options.max_request_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_image_bytes is ", options.engine.max_image_bytes,
                     ", not less than max_request_bytes, ", options.max_request_bytes));
  }
  return absl::OkStatus();
}

}  // namespace prefixd
