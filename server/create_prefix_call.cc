#include "server/create_prefix_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "server/call_support.h"

namespace prefixd {

CreatePrefixCall::CreatePrefixCall(grpc::CallbackServerContext* call,
                                   grpc::ServerUnaryReactor* reactor,
                                   v1::CreatePrefixResponse* response, std::string request_id,
                                   Fill fill)
    : call_(call),
      response_(response),
      request_id_(std::move(request_id)),
      fill_(std::move(fill)),
      reactor_(reactor) {}

void CreatePrefixCall::End(const absl::StatusOr<PrefixInfo>& result) {
  grpc::ServerUnaryReactor* reactor;
  {
    MutexLock lock(&mutex_);
    reactor = std::exchange(reactor_, nullptr);
  }
  if (reactor == nullptr) return;
  // The call lives until Finish: nobody else comes here.
  if (!result.ok()) {
    GrpcError error = PrepareError(result.status(), request_id_, call_);
    PREFIXD_LOG(kInfo, "req=", request_id_, " prefix failed reason=", error.reason);
    reactor->Finish(std::move(error.status));
    return;
  }
  PREFIXD_LOG(kInfo, "req=", request_id_, " prefix pinned name=", result->name,
              " prompt=", result->prompt_tokens, " pinned=", result->pinned_tokens);
  fill_(*result, response_->mutable_prefix());
  reactor->Finish(grpc::Status::OK);
}

}  // namespace prefixd
