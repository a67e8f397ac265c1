// Unary calls that the engine answers later: one line of the log each, one end, one part of the
// memory budget, one deadline on the engine's clock.
#ifndef PREFIXD_SERVER_ENGINE_CALL_H_
#define PREFIXD_SERVER_ENGINE_CALL_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/error.h"
#include "base/mutex.h"
#include "engine/error_reasons.h"
#include "server/call_log.h"
#include "server/call_support.h"
#include "server/serving_context.h"

namespace prefixd {

// Whose call it is, under which id, until when.
struct CallIdentity {
  Principal caller;
  std::string request_id;
  absl::Time deadline;
};

// What is the same for all calls of a method but for the message.
template <typename Result>
struct EngineMethod {
  absl::string_view name;  // In the log; a constant.
  // Puts the result into the response and returns what the log says of it (" name=a rows=3").
  std::function<std::string(Result)> fill;
  // Tells the engine that nobody waits any more; null: the engine goes on.
  std::function<void(const CallIdentity&)> cancel;
};

// Ends once: with the engine's answer or when the client leaves, whichever is first. The engine's
// callback and the call share it: the engine may answer long after the call, its service and its
// server are gone. Thread-safe.
template <typename Result>
class EngineCall {
 public:
  // What the pointers name, and what `fill` needs, lives until the reactor's OnDone, which comes
  // after End.
  EngineCall(const Clock* clock, grpc::CallbackServerContext* call,
             grpc::ServerUnaryReactor* reactor, CallIdentity identity,
             std::function<std::string(Result)> fill, absl::string_view method)
      : clock_(*clock),
        call_(call),
        identity_(std::move(identity)),
        fill_(std::move(fill)),
        method_(method),
        start_(clock->Now()),
        reactor_(reactor) {}

  const CallIdentity& identity() const { return identity_; }

  bool ended() const {
    MutexLock lock(&mutex_);
    return reactor_ == nullptr;
  }

  // Ends the call; later calls do nothing.
  void End(absl::StatusOr<Result> result) {
    grpc::ServerUnaryReactor* reactor;
    {
      MutexLock lock(&mutex_);
      reactor = std::exchange(reactor_, nullptr);
    }
    if (reactor == nullptr) return;
    // The call lives until Finish: nobody else comes here.
    const absl::Status status = result.status();
    grpc::Status end;
    std::string details;
    if (status.ok()) {
      details = fill_(*std::move(result));
      call_->AddInitialMetadata(kRequestIdKey, identity_.request_id);
    } else {
      end = PrepareError(status, identity_.request_id, call_).status;
    }
    LogCall({.request_id = identity_.request_id,
             .tenant = identity_.caller.tenant,
             .method = method_,
             .status = status,
             .details = std::move(details),
             .total = clock_.Now() - start_});
    reactor->Finish(std::move(end));
  }

 private:
  const Clock& clock_;
  grpc::CallbackServerContext* const call_;
  const CallIdentity identity_;
  const std::function<std::string(Result)> fill_;
  const absl::string_view method_;
  const absl::Time start_;

  mutable Mutex mutex_;
  grpc::ServerUnaryReactor* reactor_ ABSL_GUARDED_BY(mutex_);  // Null once the call has its end.
};

// gRPC's end of such a call. Deletes itself in OnDone.
template <typename Result>
class EngineCallReactor final : public grpc::ServerUnaryReactor {
 public:
  using Done = std::function<void(absl::StatusOr<Result>)>;
  using Submit = absl::FunctionRef<absl::Status(const CallIdentity&, Done)>;

  EngineCallReactor(ServingContext* context, grpc::CallbackServerContext* call,
                    CallIdentity identity, EngineMethod<Result> method)
      : context_(*context),
        cancel_(std::move(method.cancel)),
        call_(std::make_shared<EngineCall<Result>>(context->clock, call, this, std::move(identity),
                                                   std::move(method.fill), method.name)) {}

  // Ends the call with `refusal` unless that is OK; takes `bytes` of the budget; then `submit`
  // converts the message and hands it to the engine, or returns why not.
  void Start(const absl::Status& refusal, uint64_t bytes, Submit submit) {
    // The call may be over at any time: only what is held here is touched after its end.
    const std::shared_ptr<EngineCall<Result>> call = call_;
    if (!refusal.ok()) return call->End(refusal);
    if (!context_.budget.Take(bytes)) return call->End(BudgetUsedUp());
    taken_bytes_ = bytes;
    holds_budget_ = true;
    const absl::Status status = submit(
        call->identity(), [call](absl::StatusOr<Result> result) { call->End(std::move(result)); });
    if (!status.ok()) call->End(status);
  }

  void OnCancel() override {
    // Held beside: End lets the call, and with it this object, go.
    const std::shared_ptr<EngineCall<Result>> call = call_;
    // What was refused may have the id of another call that goes on.
    if (cancel_ && !call->ended()) cancel_(call->identity());
    call->End(MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "the client left"));
  }
  void OnDone() override {
    if (holds_budget_) context_.budget.Give(taken_bytes_);
    delete this;
  }

 private:
  ServingContext& context_;
  const std::function<void(const CallIdentity&)> cancel_;
  const std::shared_ptr<EngineCall<Result>> call_;
  uint64_t taken_bytes_ = 0;
  bool holds_budget_ = false;
};

// Starts a call. `body_id`: the request id in the message, or empty. `bytes` is the size of the
// message; `submit` as EngineCallReactor::Start has it.
template <typename Result>
grpc::ServerUnaryReactor* StartEngineCall(ServingContext* context,
                                          grpc::CallbackServerContext* call,
                                          const std::string& body_id, uint64_t bytes,
                                          EngineMethod<Result> method,
                                          typename EngineCallReactor<Result>::Submit submit) {
  const absl::StatusOr<std::string> id = ChooseRequestId(body_id, *call);
  absl::StatusOr<Principal> caller = context->auth.TenantOf(*call);
  const absl::Status refusal = caller.ok() ? id.status() : caller.status();
  CallIdentity identity{.caller = std::move(caller).value_or(Principal()),
                        .request_id = id.ok() ? *id : DrawRequestId(),
                        .deadline = context->clock->Now() + TimeLeft(*call, context->limits)};
  auto* reactor =
      new EngineCallReactor<Result>(context, call, std::move(identity), std::move(method));
  reactor->Start(refusal, bytes, submit);
  return reactor;
}

}  // namespace prefixd

#endif  // PREFIXD_SERVER_ENGINE_CALL_H_
