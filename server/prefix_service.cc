#include "server/prefix_service.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/call_support.h"
#include "server/convert_prefix.h"
#include "server/engine_call.h"
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

}  // namespace

grpc::ServerUnaryReactor* PrefixService::CreatePrefix(grpc::CallbackServerContext* call,
                                                      const v1::CreatePrefixRequest* message,
                                                      v1::CreatePrefixResponse* response) {
  const auto fill = [this, response](const PrefixInfo& prefix) {
    Fill(prefix, response->mutable_prefix());
    return absl::StrCat(" name=", prefix.name, " prompt=", prefix.prompt_tokens,
                        " pinned=", prefix.pinned_tokens);
  };
  return StartEngineCall<PrefixInfo>(
      &context_, call, "", message->ByteSizeLong(),
      {.name = "create_prefix", .fill = fill, .cancel = nullptr},
      [&](const CallIdentity& identity, auto done) -> absl::Status {
        PREFIXD_ASSIGN_OR_RETURN(
            PrefixSpec spec,
            ConvertCreatePrefixRequest(TakeMessage(message), context_.engine->model_info(),
                                       context_.limits));
        spec.tenant = identity.caller.tenant;
        spec.deadline = identity.deadline;
        context_.engine->CreatePrefix(std::move(spec), std::move(done));
        return absl::OkStatus();
      });
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
  ToProto(prefix, context_.engine->model_info().name, context_.WallNow(), out);
}

}  // namespace prefixd
