#include "server/prefix_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/call_support.h"
#include "server/convert_prefix.h"
#include "server/create_prefix_call.h"
#include "server/paging.h"
#include "server/unary.h"

namespace prefixd {
namespace {

// One text for a prefix that is gone, never was or is another tenant's.
absl::Status NotFoundInOneText(absl::Status status, const std::string& name) {
  if (!absl::IsNotFound(status)) return status;
  return MakeError(absl::StatusCode::kNotFound, reason::kPrefixNotFound,
                   absl::StrCat("no prefix named ", name, " (it may have expired)"),
                   {{"prefix", name}});
}

// gRPC's end of a CreatePrefix call. Deletes itself in OnDone.
class CreatePrefixReactor final : public grpc::ServerUnaryReactor {
 public:
  CreatePrefixReactor(ServingContext* context, grpc::CallbackServerContext* call,
                      v1::CreatePrefixResponse* response, std::string request_id,
                      CreatePrefixCall::Fill fill)
      : context_(*context),
        deadline_(context->clock->Now() + TimeLeft(*call, context->limits)),
        call_(std::make_shared<CreatePrefixCall>(call, this, response, std::move(request_id),
                                                 std::move(fill))) {}

  // Hands the prefix to the engine, or refuses the call.
  void Start(v1::CreatePrefixRequest message, const absl::StatusOr<std::string>& tenant,
             const absl::Status& id_status) {
    // The call may be over at any time: only what is held here is touched after its end.
    const std::shared_ptr<CreatePrefixCall> call = call_;
    const uint64_t bytes = message.ByteSizeLong();
    if (!tenant.ok()) return call->End(tenant.status());
    if (!id_status.ok()) return call->End(id_status);
    if (!context_.budget.Take(bytes)) return call->End(BudgetUsedUp());
    taken_bytes_ = bytes;
    holds_budget_ = true;
    absl::StatusOr<PrefixSpec> spec = ConvertCreatePrefixRequest(
        std::move(message), context_.engine->model_info(), context_.limits);
    if (!spec.ok()) return call->End(spec.status());
    spec->tenant = *tenant;
    spec->deadline = deadline_;
    context_.engine->CreatePrefix(
        *std::move(spec), [call](const absl::StatusOr<PrefixInfo>& result) { call->End(result); });
  }

  void OnCancel() override {
    // Held beside: End lets the call, and with it this object, go.
    const std::shared_ptr<CreatePrefixCall> call = call_;
    call->End(MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "the client left"));
  }
  void OnDone() override {
    if (holds_budget_) context_.budget.Give(taken_bytes_);
    delete this;
  }

 private:
  ServingContext& context_;
  const absl::Time deadline_;
  const std::shared_ptr<CreatePrefixCall> call_;
  uint64_t taken_bytes_ = 0;
  bool holds_budget_ = false;
};

}  // namespace

grpc::ServerUnaryReactor* PrefixService::CreatePrefix(grpc::CallbackServerContext* call,
                                                      const v1::CreatePrefixRequest* message,
                                                      v1::CreatePrefixResponse* response) {
  const absl::StatusOr<std::string> id = ChooseRequestId("", *call);
  auto* reactor = new CreatePrefixReactor(
      &context_, call, response, id.ok() ? *id : DrawRequestId(),
      [this](const PrefixInfo& prefix, v1::Prefix* out) { Fill(prefix, out); });
  reactor->Start(TakeMessage(message), TenantOf(*call), id.status());
  return reactor;
}

grpc::ServerUnaryReactor* PrefixService::GetPrefix(grpc::CallbackServerContext* call,
                                                   const v1::GetPrefixRequest* message,
                                                   v1::GetPrefixResponse* response) {
  const auto get = [&]() -> absl::Status {
    PREFIXD_RETURN_IF_ERROR(CheckPrefixRequestName(message->name()));
    PREFIXD_ASSIGN_OR_RETURN(const std::string tenant, TenantOf(*call));
    const absl::StatusOr<PrefixInfo> prefix = context_.engine->GetPrefix(tenant, message->name());
    if (!prefix.ok()) return NotFoundInOneText(prefix.status(), message->name());
    Fill(*prefix, response->mutable_prefix());
    return absl::OkStatus();
  };
  return FinishUnary(call, get());
}

grpc::ServerUnaryReactor* PrefixService::ListPrefixes(grpc::CallbackServerContext* call,
                                                      const v1::ListPrefixesRequest* message,
                                                      v1::ListPrefixesResponse* response) {
  const auto list = [&]() -> absl::Status {
    PREFIXD_ASSIGN_OR_RETURN(const std::string tenant, TenantOf(*call));
    const std::vector<PrefixInfo> prefixes = context_.engine->ListPrefixes(tenant);
    PREFIXD_ASSIGN_OR_RETURN(
        const Page page, ChoosePage(message->page_size(), message->page_token(), prefixes.size()));
    for (size_t i = page.begin; i < page.end; ++i) Fill(prefixes[i], response->add_prefixes());
    response->set_next_page_token(page.next_token);
    return absl::OkStatus();
  };
  return FinishUnary(call, list());
}

grpc::ServerUnaryReactor* PrefixService::TouchPrefix(grpc::CallbackServerContext* call,
                                                     const v1::TouchPrefixRequest* message,
                                                     v1::TouchPrefixResponse* response) {
  const auto touch = [&]() -> absl::Status {
    PREFIXD_ASSIGN_OR_RETURN(const std::optional<absl::Duration> ttl,
                             ConvertTouchPrefixRequest(*message));
    PREFIXD_ASSIGN_OR_RETURN(const std::string tenant, TenantOf(*call));
    const absl::StatusOr<PrefixInfo> prefix =
        context_.engine->TouchPrefix(tenant, message->name(), ttl);
    if (!prefix.ok()) return NotFoundInOneText(prefix.status(), message->name());
    Fill(*prefix, response->mutable_prefix());
    return absl::OkStatus();
  };
  return FinishUnary(call, touch());
}

grpc::ServerUnaryReactor* PrefixService::ReleasePrefix(grpc::CallbackServerContext* call,
                                                       const v1::ReleasePrefixRequest* message,
                                                       v1::ReleasePrefixResponse*) {
  const auto release = [&]() -> absl::Status {
    PREFIXD_RETURN_IF_ERROR(CheckPrefixRequestName(message->name()));
    PREFIXD_ASSIGN_OR_RETURN(const std::string tenant, TenantOf(*call));
    return NotFoundInOneText(context_.engine->ReleasePrefix(tenant, message->name()),
                             message->name());
  };
  return FinishUnary(call, release());
}

absl::StatusOr<std::string> PrefixService::TenantOf(const grpc::ServerContextBase& call) const {
  PREFIXD_ASSIGN_OR_RETURN(const Principal caller, context_.auth.TenantOf(call));
  return caller.tenant;
}

void PrefixService::Fill(const PrefixInfo& prefix, v1::Prefix* out) const {
  const absl::Time wall_now = context_.wall_start + (context_.clock->Now() - context_.start);
  ToProto(prefix, context_.engine->model_info().name, wall_now, out);
}

}  // namespace prefixd
