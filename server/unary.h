// Ends calls with a status of ours.
#ifndef PREFIXD_SERVER_UNARY_H_
#define PREFIXD_SERVER_UNARY_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "server/call_support.h"

namespace prefixd {

// The status of a call that is refused before it has a request id of its own. Requires: not OK.
inline grpc::Status RefusalOf(grpc::CallbackServerContext* call, const absl::Status& status) {
  const absl::StatusOr<std::string> id = ChooseRequestId("", *call);
  return PrepareError(status, id.ok() ? *id : DrawRequestId(), call).status;
}

inline grpc::ServerUnaryReactor* FinishUnary(grpc::CallbackServerContext* call,
                                             const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  reactor->Finish(status.ok() ? grpc::Status::OK : RefusalOf(call, status));
  return reactor;
}

}  // namespace prefixd

#endif  // PREFIXD_SERVER_UNARY_H_
