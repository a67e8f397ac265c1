// Errors that a caller's program can act on: an absl::Status whose payload carries a
// machine-readable reason, the variable parts of the message, every violated field and a retry
// hint. The server turns the payload into google.rpc details; code between only passes the status
// on.
#ifndef PREFIXD_BASE_ERROR_H_
#define PREFIXD_BASE_ERROR_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace prefixd {

struct FieldViolation {
  std::string field;        // A path such as `messages[1].parts[0].image`.
  std::string description;  // What is wrong, with both numbers.
};

struct ErrorDetail {
  std::string reason;  // [A-Z][A-Z0-9_]+, for example CONTEXT_LENGTH_EXCEEDED.
  std::vector<std::pair<std::string, std::string>> metadata;
  std::vector<FieldViolation> field_violations;
  std::optional<absl::Duration> retry_after;
};

// Returns a status of `code` with `detail` as payload. Requires: `code` is not OK.
absl::Status MakeError(absl::StatusCode code, absl::string_view message, const ErrorDetail& detail);

// Shorthand for an error with a reason and metadata only.
absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                       std::vector<std::pair<std::string, std::string>> metadata = {});

// Returns the payload of `status`, or nullopt if it has none.
std::optional<ErrorDetail> GetErrorDetail(const absl::Status& status);

}  // namespace prefixd

#endif  // PREFIXD_BASE_ERROR_H_
