// From absl::Status to what gRPC sends: code, message and google.rpc details. Pure functions.
#ifndef PREFIXD_SERVER_GRPC_STATUS_H_
#define PREFIXD_SERVER_GRPC_STATUS_H_

#include <cstdint>
#include <optional>
#include <string>

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// google.rpc.ErrorInfo.domain of every error.
inline constexpr char kErrorDomain[] = "prefixd";

// Details beyond this are left out, so that a status always fits the limit on metadata.
inline constexpr size_t kMaxDetailBytes = 3072;

struct GrpcError {
  grpc::Status status;
  std::string reason;                  // Of ErrorInfo; never empty.
  std::optional<int64_t> pushback_ms;  // For the trailer `grpc-retry-pushback-ms`.
};

// Requires: `status` is not OK. Details: ErrorInfo and RequestInfo always (the latter unless
// `request_id` is empty); BadRequest with the violations, RetryInfo, ResourceInfo (NOT_FOUND),
// PreconditionFailure (FAILED_PRECONDITION), QuotaFailure (RESOURCE_EXHAUSTED with a retry hint).
// A status without ErrorDetail gets the reason of its code. The text of INTERNAL and UNKNOWN errors
// is replaced: it may name what is no caller's business.
// `jitter` in [-1, 1] moves the pushback by up to 20 %.
GrpcError ToGrpcError(const absl::Status& status, absl::string_view request_id,
                      double jitter = 0.0);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_GRPC_STATUS_H_
