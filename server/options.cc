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

absl::Status ValidateServerOptions(const ServerOptions& options) {
  if (options.engine.model_path.empty()) {
    return absl::InvalidArgumentError("model is not set; name a model directory with --model DIR");
  }
  PREFIXD_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options.listen));
  if (!address.loopback && !options.insecure) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen: `", options.listen,
                     "` can be reached from other machines without authentication or encryption; "
                     "listen on 127.0.0.1, or allow it with --insecure"));
  }
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
