#include "tests/client/fake_server.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include <grpcpp/health_check_service_interface.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/sha256.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace prefixd::testing {
namespace {

void SetMicros(int64_t micros, google::protobuf::Duration* out) {
  out->set_seconds(micros / 1'000'000);
  out->set_nanos(static_cast<int32_t>(micros % 1'000'000) * 1000);
}

std::string DigestOf(const std::string& bytes) {
  const Sha256Digest digest = Sha256Of(bytes);
  return std::string(digest.begin(), digest.end());
}

grpc::Status NoSuchPrefix(const std::string& name) {
  return ToStatus({.code = grpc::StatusCode::NOT_FOUND,
                   .message = absl::StrCat("there is no ", name),
                   .reason = "PREFIX_NOT_FOUND",
                   .metadata = {{"prefix", name}}});
}

v1::Model DemoModel() {
  v1::Model model;
  model.set_name("demo");
  model.set_state(v1::MODEL_STATE_SERVING);
  model.set_family("llava");
  model.set_weights_dtype("bf16");
  model.set_num_parameters(3'200'000);
  model.set_weight_bytes(6'500'000);
  model.mutable_capabilities()->set_chat(true);
  model.mutable_capabilities()->set_images(true);
  model.mutable_limits()->set_context_length(2048);
  model.add_retention_policies("prefixkv");
  model.add_retention_policies("h2o");
  return model;
}

}  // namespace

GenerateHandler AnswerWith(std::vector<std::string> deltas) {
  return [deltas = std::move(deltas)](grpc::ServerContext*, const v1::GenerateRequest& request,
                                      Writer* writer) {
    v1::GenerateResponse event;
    v1::Started* const started = event.mutable_started();
    started->set_request_id("req-1");
    started->set_model("demo");
    started->set_prompt_tokens(20);
    started->set_cached_prompt_tokens(4);
    started->set_image_tokens(9);
    started->set_seed(42);
    started->set_max_tokens(100);
    writer->Write(event);
    for (const std::string& delta : deltas) {
      event.mutable_delta()->set_text(delta);
      writer->Write(event);
    }
    event.mutable_choice_finished()->set_reason(v1::FINISH_REASON_EOS);
    event.mutable_choice_finished()->set_stop_token_id(2);
    writer->Write(event);
    v1::Finished* const finished = event.mutable_finished();
    finished->mutable_usage()->set_prompt_tokens(20);
    finished->mutable_usage()->set_cached_prompt_tokens(4);
    finished->mutable_usage()->set_image_tokens(9);
    finished->mutable_usage()->set_completion_tokens(static_cast<int32_t>(deltas.size()));
    SetMicros(1'000, finished->mutable_timings()->mutable_queue());
    SetMicros(20'000, finished->mutable_timings()->mutable_prefill());
    SetMicros(22'500, finished->mutable_timings()->mutable_first_token());
    SetMicros(40'000, finished->mutable_timings()->mutable_total());
    v1::Receipt* const receipt = finished->mutable_receipt();
    receipt->set_model("demo");
    receipt->set_seed(42);
    v1::RetentionReceipt* const retention = receipt->mutable_retention();
    retention->set_scope(request.has_retention() ? request.retention().scope()
                                                 : v1::RETENTION_SCOPE_OFF);
    retention->set_budget(request.has_retention() ? request.retention().budget() : 1);
    v1::CacheReceipt* const cache = receipt->mutable_cache();
    cache->set_hit_tokens(4);
    cache->set_computed_tokens(16);
    cache->set_images(1);
    cache->set_feature_hits(1);
    cache->set_miss(v1::CACHE_MISS_REASON_DIVERGED);
    writer->Write(event);
    return grpc::Status::OK;
  };
}

grpc::Status ToStatus(const Refusal& refusal) {
  google::rpc::Status rich;
  rich.set_code(refusal.code);
  rich.set_message(refusal.message);
  google::rpc::ErrorInfo info;
  info.set_reason(refusal.reason);
  info.set_domain("prefixd");
  for (const auto& [key, value] : refusal.metadata) (*info.mutable_metadata())[key] = value;
  rich.add_details()->PackFrom(info);
  if (!refusal.violations.empty()) {
    google::rpc::BadRequest bad;
    for (const auto& [field, description] : refusal.violations) {
      auto* const violation = bad.add_field_violations();
      violation->set_field(field);
      violation->set_description(description);
    }
    rich.add_details()->PackFrom(bad);
  }
  if (refusal.retry_after_ms > 0) {
    google::rpc::RetryInfo retry;
    SetMicros(refusal.retry_after_ms * 1000, retry.mutable_retry_delay());
    rich.add_details()->PackFrom(retry);
  }
  if (!refusal.request_id.empty()) {
    google::rpc::RequestInfo request;
    request.set_request_id(refusal.request_id);
    rich.add_details()->PackFrom(request);
  }
  return grpc::Status(refusal.code, refusal.message, rich.SerializeAsString());
}

GenerateHandler RefuseWith(Refusal refusal) {
  return [status = ToStatus(refusal)](grpc::ServerContext*, const v1::GenerateRequest&, Writer*) {
    return status;
  };
}

FakeServer::FakeServer()
    : handler_(AnswerWith({"It is ", "a cat."})),
      classification_([this](const std::vector<const v1::Image*>& images) {
        MutexLock lock(&mutex_);
        return TakeImages(images);
      }) {
  info_.set_version("9.8.7");
  info_.set_schema_revision(2);
  info_.set_state(v1::SERVER_STATE_SERVING);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(32 << 20);
  builder.RegisterService(static_cast<v1::GenerationService::Service*>(this));
  builder.RegisterService(static_cast<v1::ModelService::Service*>(this));
  builder.RegisterService(static_cast<v1::AdminService::Service*>(this));
  builder.RegisterService(static_cast<v1::PrefixService::Service*>(this));
  builder.RegisterService(&classification_);
  server_ = builder.BuildAndStart();
  PREFIXD_CHECK(server_ != nullptr);
  address_ = absl::StrCat("127.0.0.1:", port);
  server_->GetHealthCheckService()->SetServingStatus("ready", true);
}

FakeServer::~FakeServer() { server_->Shutdown(std::chrono::system_clock::now()); }

void FakeServer::OnGenerate(GenerateHandler handler) {
  MutexLock lock(&mutex_);
  handler_ = std::move(handler);
}

void FakeServer::SetReady(bool ready) {
  {
    MutexLock lock(&mutex_);
    info_.set_state(ready ? v1::SERVER_STATE_SERVING : v1::SERVER_STATE_LOADING);
  }
  server_->GetHealthCheckService()->SetServingStatus("ready", ready);
}

void FakeServer::SetLoad(uint64_t bytes_done, uint64_t bytes_total) {
  MutexLock lock(&mutex_);
  info_.set_load_bytes_done(bytes_done);
  info_.set_load_bytes_total(bytes_total);
}

void FakeServer::AddRequest(const std::string& id, v1::RequestState state) {
  MutexLock lock(&mutex_);
  v1::RequestSummary* const request = live_.add_requests();
  request->set_request_id(id);
  request->set_state(state);
  request->set_prompt_tokens(171);
  request->set_generated_tokens(5);
  request->set_priority(-1);
  request->set_cached_tokens(144);
  request->set_preemptions(2);
  request->set_cached_positions(160);
  request->mutable_age()->set_seconds(3);
  live_.set_running(live_.running() + 1);
}

std::vector<v1::GenerateRequest> FakeServer::requests() const {
  MutexLock lock(&mutex_);
  return requests_;
}

grpc::Status FakeServer::Generate(grpc::ServerContext* context, const v1::GenerateRequest* request,
                                  Writer* writer) {
  GenerateHandler handler;
  {
    MutexLock lock(&mutex_);
    requests_.push_back(*request);
    const grpc::Status missing = TakeImages(request->chat());
    if (!missing.ok()) return missing;
    handler = handler_;
  }
  return handler(context, *request, writer);
}

grpc::Status FakeServer::CountTokens(grpc::ServerContext*, const v1::CountTokensRequest* request,
                                     v1::CountTokensResponse* response) {
  MutexLock lock(&mutex_);
  counts_.push_back(*request);
  const grpc::Status missing = TakeImages(request->chat());
  if (!missing.ok()) return missing;
  response->set_prompt_tokens(171);
  response->set_image_tokens(144);
  response->set_num_images(1);
  return grpc::Status::OK;
}

grpc::Status FakeServer::TakeImages(const v1::ChatInput& chat) {
  std::vector<const v1::Image*> images;
  for (const v1::ChatMessage& message : chat.messages()) {
    for (const v1::Part& part : message.parts()) {
      if (part.has_image()) images.push_back(&part.image());
    }
  }
  return TakeImages(images);
}

grpc::Status FakeServer::TakeImages(const std::vector<const v1::Image*>& images) {
  std::vector<std::string> indices, digests;
  int index = 0;
  for (const v1::Image* const image : images) {
    if (!image->data().empty()) {
      images_.insert(DigestOf(image->data()));
    } else if (images_.count(image->image_sha256()) == 0) {
      indices.push_back(absl::StrCat(index));
      digests.push_back(absl::BytesToHexString(image->image_sha256()));
    }
    ++index;
  }
  if (indices.empty()) return grpc::Status::OK;
  if (name_one_) {
    indices.resize(1);
    digests.resize(1);
  }
  return ToStatus({.code = grpc::StatusCode::NOT_FOUND,
                   .message = absl::StrCat("image ", indices[0], " is not cached"),
                   .reason = "IMAGE_NOT_CACHED",
                   .metadata = {{"image_index", absl::StrJoin(indices, ",")},
                                {"sha256", absl::StrJoin(digests, ",")}}});
}

void FakeServer::ForgetImage(const std::string& bytes) {
  MutexLock lock(&mutex_);
  images_.erase(DigestOf(bytes));
}

void FakeServer::NameOneMissingImage() {
  MutexLock lock(&mutex_);
  name_one_ = true;
}

std::vector<v1::CreatePrefixRequest> FakeServer::creates() const {
  MutexLock lock(&mutex_);
  return creates_;
}

std::vector<v1::CountTokensRequest> FakeServer::counts() const {
  MutexLock lock(&mutex_);
  return counts_;
}

grpc::Status FakeServer::CreatePrefix(grpc::ServerContext*, const v1::CreatePrefixRequest* request,
                                      v1::CreatePrefixResponse* response) {
  MutexLock lock(&mutex_);
  creates_.push_back(*request);
  const grpc::Status missing = TakeImages(request->chat());
  if (!missing.ok()) return missing;
  v1::Prefix prefix;
  prefix.set_name(
      absl::StrCat("prefixes/", request->prefix_id().empty() ? "drawn" : request->prefix_id()));
  prefix.set_model("demo");
  prefix.set_prompt_tokens(594);
  prefix.set_pinned_tokens(592);
  prefix.set_images(1);
  prefix.set_kv_bytes(1'500'000);
  prefix.set_image_bytes(300'000);
  prefix.mutable_ttl()->set_seconds(request->has_ttl() ? request->ttl().seconds() : 600);
  *prefix.mutable_expires_in() = prefix.ttl();
  if (!prefixes_.emplace(prefix.name(), prefix).second) {
    return ToStatus({.code = grpc::StatusCode::ALREADY_EXISTS,
                     .message = absl::StrCat(prefix.name(), " exists"),
                     .reason = "PREFIX_EXISTS"});
  }
  *response->mutable_prefix() = prefix;
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetPrefix(grpc::ServerContext*, const v1::GetPrefixRequest* request,
                                   v1::GetPrefixResponse* response) {
  MutexLock lock(&mutex_);
  const auto found = prefixes_.find(request->name());
  if (found == prefixes_.end()) return NoSuchPrefix(request->name());
  *response->mutable_prefix() = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::ListPrefixes(grpc::ServerContext*, const v1::ListPrefixesRequest* request,
                                      v1::ListPrefixesResponse* response) {
  MutexLock lock(&mutex_);
  // One a page, so that the client must ask again.
  auto next = prefixes_.upper_bound(request->page_token());
  if (next == prefixes_.end()) return grpc::Status::OK;
  *response->add_prefixes() = next->second;
  if (std::next(next) != prefixes_.end()) response->set_next_page_token(next->first);
  return grpc::Status::OK;
}

grpc::Status FakeServer::TouchPrefix(grpc::ServerContext*, const v1::TouchPrefixRequest* request,
                                     v1::TouchPrefixResponse* response) {
  MutexLock lock(&mutex_);
  const auto found = prefixes_.find(request->name());
  if (found == prefixes_.end()) return NoSuchPrefix(request->name());
  if (request->has_ttl()) *found->second.mutable_ttl() = request->ttl();
  *found->second.mutable_expires_in() = found->second.ttl();
  *response->mutable_prefix() = found->second;
  return grpc::Status::OK;
}

grpc::Status FakeServer::ReleasePrefix(grpc::ServerContext*,
                                       const v1::ReleasePrefixRequest* request,
                                       v1::ReleasePrefixResponse*) {
  MutexLock lock(&mutex_);
  return prefixes_.erase(request->name()) > 0 ? grpc::Status::OK : NoSuchPrefix(request->name());
}

grpc::Status FakeServer::ListModels(grpc::ServerContext*, const v1::ListModelsRequest* request,
                                    v1::ListModelsResponse* response) {
  // Two pages, so that the client must ask twice.
  *response->add_models() = DemoModel();
  if (request->page_token().empty()) {
    response->set_next_page_token("2");
  } else {
    response->mutable_models(0)->set_name("other");
  }
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                                  v1::GetModelResponse* response) {
  if (!request->name().empty() && request->name() != "demo") {
    return ToStatus({.code = grpc::StatusCode::NOT_FOUND,
                     .message = absl::StrCat("no model named ", request->name()),
                     .reason = "MODEL_NOT_FOUND"});
  }
  *response->mutable_model() = DemoModel();
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                                       v1::GetServerInfoResponse* response) {
  MutexLock lock(&mutex_);
  *response = info_;
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetCacheStats(grpc::ServerContext*, const v1::GetCacheStatsRequest*,
                                       v1::GetCacheStatsResponse* response) {
  MutexLock lock(&mutex_);
  *response = cache_;
  return grpc::Status::OK;
}

grpc::Status FakeServer::FlushCache(grpc::ServerContext*, const v1::FlushCacheRequest* request,
                                    v1::FlushCacheResponse* response) {
  MutexLock lock(&mutex_);
  flushes_.push_back(request->has_tenant() ? request->tenant() : "*");
  response->set_pages(12);
  response->set_columns(3);
  response->set_feature_bytes(2048);
  return grpc::Status::OK;
}

grpc::Status FakeServer::GetPageMap(grpc::ServerContext*, const v1::GetPageMapRequest* request,
                                    v1::GetPageMapResponse* response) {
  response->set_pages_per_cell(2);
  for (int i = 0; i < std::min(request->max_cells(), 10); ++i) {
    v1::PageMapCell* const cell = response->add_cells();
    if (i < 4) {
      cell->set_active(2);
    } else {
      cell->set_free(2);
    }
  }
  return grpc::Status::OK;
}

void FakeServer::SetCacheStats(const v1::GetCacheStatsResponse& stats) {
  MutexLock lock(&mutex_);
  cache_ = stats;
}

std::vector<std::string> FakeServer::flushes() const {
  MutexLock lock(&mutex_);
  return flushes_;
}

grpc::Status FakeServer::ListRequests(grpc::ServerContext*, const v1::ListRequestsRequest*,
                                      v1::ListRequestsResponse* response) {
  MutexLock lock(&mutex_);
  *response = live_;
  return grpc::Status::OK;
}

}  // namespace prefixd::testing
