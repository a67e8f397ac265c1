#include "server/admin_service.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "server/cache_to_proto.h"
#include "server/convert.h"
#include "server/paging.h"
#include "server/to_proto.h"
#include "server/unary.h"

namespace prefixd {
namespace {

constexpr int32_t kDefaultPageMapCells = 1024;
constexpr int32_t kMaxPageMapCells = 4096;

void FillServerLimits(const ServingContext& context, v1::ServerLimits* out) {
  const ServerOptions& options = context.options;
  out->set_max_running(options.engine.max_running);
  out->set_max_queue(options.engine.max_queue);
  out->set_max_batch_tokens(options.engine.max_batch_tokens);
  out->set_max_request_bytes(options.max_request_bytes);
  out->set_max_connection_memory_bytes(options.max_connection_memory);
  out->set_max_streams_per_connection(options.max_streams);
  ToProto(options.default_deadline, out->mutable_default_deadline());
  ToProto(options.max_deadline, out->mutable_max_deadline());
}

absl::Status FillRequests(const v1::ListRequestsRequest& message, const EngineStats& stats,
                          v1::ListRequestsResponse* response) {
  PREFIXD_ASSIGN_OR_RETURN(const Page page, ChoosePage(message.page_size(), message.page_token(),
                                                       stats.requests.size()));
  for (size_t i = page.begin; i < page.end; ++i) {
    ToProto(stats.requests[i], response->add_requests());
  }
  response->set_next_page_token(page.next_token);
  response->set_waiting(stats.waiting);
  response->set_running(stats.running);
  return absl::OkStatus();
}

// Only names of tenants that the engine knows: a misspelt one would flush nothing and say so to
// nobody.
absl::Status CheckTenant(const std::string& tenant, const EngineStats& stats) {
  for (const TenantStats& known : stats.tenants) {
    if (known.name == tenant) return absl::OkStatus();
  }
  Violations violations;
  violations.Add(reason::kParameterOutOfRange, "tenant",
                 "not one of the tenants that GetCacheStats lists");
  return violations.ToStatus();
}

// Ids are unique within a tenant; where no tenant is named, all that have the id are aborted.
absl::Status Abort(const v1::AbortRequestRequest& message, ServingContext* context) {
  const std::string& request_id = message.request_id();
  if (!IsRequestId(request_id)) {
    Violations violations;
    violations.Add(reason::kParameterOutOfRange, "request_id",
                   "a request id has 1..128 characters of [A-Za-z0-9._:/-]");
    return violations.ToStatus();
  }
  std::vector<std::string> tenants;
  for (const TenantOptions& tenant : context->options.engine.tenants) {
    if (message.tenant().empty()) tenants.push_back(tenant.name);
  }
  if (tenants.empty()) tenants.push_back(message.tenant());
  bool found = false;
  for (const std::string& tenant : tenants) {
    const absl::Status status = context->engine->Cancel(tenant, request_id);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    found = found || status.ok();
  }
  if (found) return absl::OkStatus();
  return MakeError(absl::StatusCode::kNotFound, reason::kRequestNotFound,
                   absl::StrCat("request ", request_id, " does not live here"),
                   {{"request_id", request_id}});
}

}  // namespace

grpc::ServerUnaryReactor* AdminService::GetServerInfo(grpc::CallbackServerContext* call,
                                                      const v1::GetServerInfoRequest*,
                                                      v1::GetServerInfoResponse* response) {
  const std::shared_ptr<const EngineStats> stats = context_.engine->Stats();
  response->set_version(PREFIXD_VERSION);
  response->set_schema_revision(kSchemaRevision);
  const absl::Duration since_epoch = context_.wall_start - absl::UnixEpoch();
  response->mutable_start_time()->set_seconds(absl::ToInt64Seconds(since_epoch));
  ToProto(context_.clock->Now() - context_.start, response->mutable_uptime());
  response->set_listen(context_.listen);
  response->set_state(ToServerState(stats->state));
  FillEngineInfo(context_.engine->runtime_info(), *stats, response->mutable_engine());
  FillServerLimits(context_, response->mutable_limits());
  response->set_load_bytes_done(context_.load_bytes_done.load());
  response->set_load_bytes_total(context_.load_bytes_total.load());
  return FinishUnary(call, absl::OkStatus());
}

grpc::ServerUnaryReactor* AdminService::GetCacheStats(grpc::CallbackServerContext* call,
                                                      const v1::GetCacheStatsRequest*,
                                                      v1::GetCacheStatsResponse* response) {
  ToProto(*context_.engine->Stats(), response);
  return FinishUnary(call, absl::OkStatus());
}

grpc::ServerUnaryReactor* AdminService::FlushCache(grpc::CallbackServerContext* call,
                                                   const v1::FlushCacheRequest* message,
                                                   v1::FlushCacheResponse* response) {
  std::optional<std::string> tenant;
  if (message->has_tenant()) {
    tenant = message->tenant();
    const absl::Status known = CheckTenant(*tenant, *context_.engine->Stats());
    if (!known.ok()) return FinishUnary(call, known);
  }
  // The response and the call live until Finish, which comes from a thread of the engine.
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_.engine->FlushCache(std::move(tenant), [reactor, response](const FlushResult& result) {
    PREFIXD_LOG(kInfo, "cache flushed by operator pages=", result.pages,
                " feature_bytes=", result.feature_bytes, " image_bytes=", result.image_bytes);
    ToProto(result, response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::GetPageMap(grpc::CallbackServerContext* call,
                                                   const v1::GetPageMapRequest* message,
                                                   v1::GetPageMapResponse* response) {
  Violations violations;
  violations.CheckRange("max_cells", message->max_cells(), 0, kMaxPageMapCells);
  if (!violations.empty()) return FinishUnary(call, violations.ToStatus());
  const int32_t max_cells = message->max_cells() == 0 ? kDefaultPageMapCells : message->max_cells();
  grpc::ServerUnaryReactor* const reactor = call->DefaultReactor();
  context_.engine->GetPageMap(max_cells, [reactor, response](const PageMap& map) {
    ToProto(map, response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* AdminService::ListRequests(grpc::CallbackServerContext* call,
                                                     const v1::ListRequestsRequest* message,
                                                     v1::ListRequestsResponse* response) {
  return FinishUnary(call, FillRequests(*message, *context_.engine->Stats(), response));
}

grpc::ServerUnaryReactor* AdminService::AbortRequest(grpc::CallbackServerContext* call,
                                                     const v1::AbortRequestRequest* message,
                                                     v1::AbortRequestResponse*) {
  const absl::Status status = Abort(*message, &context_);
  if (status.ok()) PREFIXD_LOG(kInfo, "req=", message->request_id(), " abort asked by operator");
  return FinishUnary(call, status);
}

grpc::ServerUnaryReactor* AdminService::Drain(grpc::CallbackServerContext* call,
                                              const v1::DrainRequest*,
                                              v1::DrainResponse* response) {
  PREFIXD_LOG(kInfo, "drain asked by operator");
  if (context_.on_drain) context_.on_drain();
  context_.engine->Drain();
  const std::shared_ptr<const EngineStats> stats = context_.engine->Stats();
  response->set_waiting(stats->waiting);
  response->set_running(stats->running);
  return FinishUnary(call, absl::OkStatus());
}

}  // namespace prefixd
