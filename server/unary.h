// Ends a unary call with a status of ours.
#ifndef PREFIXD_SERVER_UNARY_H_
#define PREFIXD_SERVER_UNARY_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "server/call_support.h"

namespace prefixd {

inline grpc::ServerUnaryReactor* FinishUnary(grpc::CallbackServerContext* call,
                                             const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  if (status.ok()) {
    reactor->Finish(grpc::Status::OK);
  } else {
    const absl::StatusOr<std::string> id = ChooseRequestId("", *call);
    reactor->Finish(PrepareError(status, id.ok() ? *id : DrawRequestId(), call).status);
  }
  return reactor;
}

}  // namespace prefixd

#endif  // PREFIXD_SERVER_UNARY_H_
