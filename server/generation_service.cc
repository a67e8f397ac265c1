#include "server/generation_service.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "server/call_support.h"
#include "server/convert.h"
#include "server/generate_stream.h"

namespace prefixd {
namespace {

// gRPC's end of a Generate call. Deletes itself in OnDone.
class GenerateReactor final : public GenerateStream::Reactor {
 public:
  GenerateReactor(ServingContext* context, grpc::CallbackServerContext* call, Principal caller,
                  std::string request_id)
      : context_(*context),
        deadline_(context->clock->Now() + TimeLeft(*call, context->limits)),
        stream_(std::make_shared<GenerateStream>(context, this, call, caller.tenant, request_id,
                                                 deadline_)),
        caller_(std::move(caller)),
        request_id_(std::move(request_id)) {}

  std::shared_ptr<GenerateStream> stream() const { return stream_; }

  // Hands the request to the engine, or refuses the call; always with `refusal` unless that is OK.
  void Start(v1::GenerateRequest message, const absl::Status& refusal) {
    const uint64_t bytes = message.ByteSizeLong();
    if (!refusal.ok()) return stream_->Refuse(refusal);
    if (!context_.budget.Take(bytes)) return stream_->Refuse(BudgetUsedUp());
    taken_bytes_ = bytes;
    holds_budget_ = true;
    absl::StatusOr<Request> request =
        ConvertGenerateRequest(std::move(message), context_.engine->model_info(), context_.limits);
    if (!request.ok()) return stream_->Refuse(request.status());
    request->id = request_id_;
    request->tenant = caller_.tenant;
    request->priority = std::min(request->priority, caller_.max_priority);
    request->deadline = deadline_;
    // The call may be over when Submit returns: only what is held here is touched after it.
    const std::shared_ptr<GenerateStream> stream = stream_;
    const absl::Status status = context_.engine->Submit(*std::move(request), stream);
    if (status.ok()) {
      stream->Submitted();
    } else {
      stream->Refuse(status);
    }
  }

  void OnWriteDone(bool ok) override { stream_->OnWriteDone(ok); }
  void OnCancel() override { stream_->OnCancel(); }
  void OnDone() override {
    stream_->OnDone();
    if (holds_budget_) context_.budget.Give(taken_bytes_);
    delete this;
  }

 private:
  ServingContext& context_;
  const absl::Time deadline_;
  const std::shared_ptr<GenerateStream> stream_;
  const Principal caller_;
  const std::string request_id_;
  uint64_t taken_bytes_ = 0;
  bool holds_budget_ = false;
};

}  // namespace

grpc::ServerWriteReactor<v1::GenerateResponse>* GenerationService::Generate(
    grpc::CallbackServerContext* call, const v1::GenerateRequest* message) {
  const absl::StatusOr<std::string> id = ChooseRequestId(message->request_id(), *call);
  absl::StatusOr<Principal> caller = context_.auth.TenantOf(*call);
  const absl::Status refusal = caller.ok() ? id.status() : caller.status();
  auto* reactor = new GenerateReactor(&context_, call, std::move(caller).value_or(Principal()),
                                      id.ok() ? *id : DrawRequestId());
  watch_.Add(reactor->stream());
  reactor->Start(TakeMessage(message), refusal);
  return reactor;
}

grpc::ServerUnaryReactor* GenerationService::CountTokens(grpc::CallbackServerContext* call,
                                                         const v1::CountTokensRequest* message,
                                                         v1::CountTokensResponse* response) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  const absl::StatusOr<std::string> id = ChooseRequestId("", *call);
  const std::string request_id = id.ok() ? *id : DrawRequestId();
  const auto refuse = [&](const absl::Status& status) {
    reactor->Finish(PrepareError(status, request_id, call).status);
    return reactor;
  };
  if (!id.ok()) return refuse(id.status());
  const absl::StatusOr<Principal> caller = context_.auth.TenantOf(*call);
  if (!caller.ok()) return refuse(caller.status());
  const uint64_t bytes = message->ByteSizeLong();
  if (!context_.budget.Take(bytes)) return refuse(BudgetUsedUp());
  absl::StatusOr<Request> request = ConvertCountTokensRequest(
      TakeMessage(message), context_.engine->model_info(), context_.limits);
  if (!request.ok()) {
    context_.budget.Give(bytes);
    return refuse(request.status());
  }
  // The response and the call live until Finish, which comes from a prep thread.
  request->tenant = caller->tenant;
  context_.engine->CountTokens(
      *std::move(request), [this, reactor, response, call, request_id,
                            bytes](const absl::StatusOr<TokenCounts>& counts) {
        context_.budget.Give(bytes);
        if (!counts.ok()) {
          reactor->Finish(PrepareError(counts.status(), request_id, call).status);
          return;
        }
        response->set_prompt_tokens(counts->prompt_tokens);
        response->set_image_tokens(counts->image_tokens);
        response->set_cached_prompt_tokens(counts->cached_prompt_tokens);
        response->set_num_images(counts->num_images);
        response->set_num_items(counts->prompt_tokens);
        reactor->Finish(grpc::Status::OK);
      });
  return reactor;
}

}  // namespace prefixd
