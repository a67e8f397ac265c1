// Statuses of calls: a gRPC status with its google.rpc details becomes an absl::Status whose detail
// base/error.h reads (reason, metadata, field violations, retry hint). Free functions; thread-safe.
#ifndef PREFIXD_CLIENT_CALL_STATUS_H_
#define PREFIXD_CLIENT_CALL_STATUS_H_

#include <string>

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace google::rpc {
class Status;
}

namespace prefixd {

// Returns `status` with the details of the trailer `grpc-status-details-bin`. Details that do not
// parse are left out; code and message always stay.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The same of a status that came in a message.
absl::Status FromRpcStatus(const google::rpc::Status& status);

// The id that the server gave the failed request (google.rpc.RequestInfo); empty if it gave none.
std::string GetRequestId(const absl::Status& status);

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_CALL_STATUS_H_
