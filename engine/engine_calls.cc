// Public calls: requests in, counts and statistics out.
#include "engine/threaded_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/prompt/merge_input.h"
#include "engine/step_loop_internal.h"

namespace prefixd {
namespace {

// How long WaitDrained gives requests to notice that they were cut.
constexpr absl::Duration kCutGrace = absl::Seconds(5);

}  // namespace

absl::Status ThreadedEngine::CheckAdmission() const {
  switch (state_.load()) {
    case EngineState::kServing:
      break;
    case EngineState::kLoading:
      return MakeError(
          absl::StatusCode::kUnavailable, "the model is still loading",
          ErrorDetail{.reason = reason::kModelNotReady, .retry_after = absl::Seconds(1)});
    case EngineState::kDraining:
    case EngineState::kStopped:
      return ShuttingDown();
    case EngineState::kFailed:
      return EngineFailed();
  }
  const int32_t waiting = num_waiting_.load();
  if (waiting < parts_.options.max_queue) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat(waiting, " requests are waiting, the limit is ", parts_.options.max_queue),
      ErrorDetail{
          .reason = reason::kQueueFull,
          .metadata = {{"waiting", absl::StrCat(waiting)},
                       {"limit", absl::StrCat(parts_.options.max_queue)}},
          .retry_after = std::max(kLeastRetryHint, absl::Milliseconds(wait_estimate_ms_.load()))});
}

// Pixels are far larger than the files they come from, so they are bounded before anything is
// decoded.
absl::Status ThreadedEngine::ChargeImages(ActiveRequest* request) {
  request->image_bytes = ImagesOf(request->request.input).size() * parts_.image_bytes;
  const uint64_t held = image_bytes_.fetch_add(request->image_bytes) + request->image_bytes;
  const uint64_t limit = parts_.options.max_image_memory;
  if (held <= limit) return absl::OkStatus();
  image_bytes_ -= request->image_bytes;
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat("the images of all requests would hold ", held, " bytes, the limit is ", limit),
      ErrorDetail{
          .reason = reason::kQueueFull,
          .metadata = {{"bytes", absl::StrCat(held)}, {"limit", absl::StrCat(limit)}},
          .retry_after = std::max(kLeastRetryHint, absl::Milliseconds(wait_estimate_ms_.load()))});
}

int32_t ThreadedEngine::TenantIndex(absl::string_view name) const {
  const std::vector<TenantOptions>& tenants = parts_.options.tenants;
  if (tenants.empty()) return name.empty() ? 0 : -1;
  const auto found = std::find_if(tenants.begin(), tenants.end(),
                                  [name](const auto& tenant) { return tenant.name == name; });
  return found == tenants.end() ? -1 : static_cast<int32_t>(found - tenants.begin());
}

absl::Status ThreadedEngine::CheckTenantQueue(int32_t tenant) const {
  if (parts_.options.tenants.empty()) return absl::OkStatus();
  const int32_t waiting = tenant_waiting_[tenant].load();
  const int32_t limit = parts_.options.tenants[tenant].max_queue;
  if (waiting < limit) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kResourceExhausted,
      absl::StrCat(waiting, " requests of the tenant are waiting, the limit is ", limit),
      ErrorDetail{
          .reason = reason::kTenantQuota,
          .metadata = {{"waiting", absl::StrCat(waiting)}, {"limit", absl::StrCat(limit)}},
          .retry_after = std::max(kLeastRetryHint, absl::Milliseconds(wait_estimate_ms_.load()))});
}

absl::StatusOr<std::shared_ptr<const PrefixEntry>> ThreadedEngine::MergePrefix(
    Request* request) const {
  if (request->prefix.empty()) return nullptr;
  PREFIXD_ASSIGN_OR_RETURN(const std::shared_ptr<PrefixEntry> entry,
                           parts_.prefixes->Use(request->tenant, request->prefix));
  PREFIXD_ASSIGN_OR_RETURN(request->input, MergeInputs(entry->input, std::move(request->input)));
  // The prefix's own namespace, or its pages would not be found.
  if (request->cache_salt.empty()) request->cache_salt = entry->cache_salt;
  return entry;
}

absl::Status ThreadedEngine::Submit(Request request, std::shared_ptr<EventSink> sink) {
  PREFIXD_CHECK(!request.id.empty() && sink != nullptr);
  auto active = std::make_unique<ActiveRequest>();
  active->sink = std::move(sink);
  active->request = std::move(request);
  return Enqueue(std::move(active));
}

absl::Status ThreadedEngine::Enqueue(std::unique_ptr<ActiveRequest> active) {
  PREFIXD_RETURN_IF_ERROR(CheckAdmission());
  Request& request = active->request;
  active->tenant = TenantIndex(request.tenant);
  if (active->tenant < 0) return UnknownTenant(request.tenant);
  PREFIXD_RETURN_IF_ERROR(CheckTenantQueue(active->tenant));
  if (!parts_.options.tenants.empty()) {
    const int32_t highest = parts_.options.tenants[active->tenant].max_priority;
    request.priority = std::min(request.priority, highest);
  }
  if (!parts_.options.prefix_cache || request.recompute_all) request.bypass_prefix_cache = true;
  PREFIXD_ASSIGN_OR_RETURN(const std::shared_ptr<const PrefixEntry> prefix, MergePrefix(&request));
  if (prefix != nullptr) {
    active->kept = prefix->kept;
    active->prefix_rows = prefix->info.prompt_tokens;
  }
  active->handle = std::make_shared<RequestHandle>();
  active->submitted = clock_->Now();
  PREFIXD_RETURN_IF_ERROR(ChargeImages(active.get()));
  {
    MutexLock lock(&mutex_);
    if (!live_.emplace(LiveKey(request.tenant, request.id), active->handle).second) {
      image_bytes_ -= active->image_bytes;
      return MakeError(absl::StatusCode::kAlreadyExists, reason::kRequestExists,
                       absl::StrCat("a request with id ", request.id, " is running"),
                       {{"request_id", request.id}});
    }
  }
  ++num_waiting_;
  ++tenant_waiting_[active->tenant];
  // std::function must be copyable, so the request travels in a shared pointer.
  auto box = std::make_shared<std::unique_ptr<ActiveRequest>>(std::move(active));
  prep_->Add([this, box](bool run) { PrepareRequest(std::move(*box), run); });
  return absl::OkStatus();
}

absl::Status ThreadedEngine::Cancel(absl::string_view tenant, absl::string_view request_id) {
  {
    MutexLock lock(&mutex_);
    const auto it = live_.find(LiveKey(std::string(tenant), std::string(request_id)));
    if (it == live_.end()) {
      return MakeError(absl::StatusCode::kNotFound, reason::kRequestNotFound,
                       absl::StrCat("no request with id ", request_id, " is running"),
                       {{"request_id", std::string(request_id)}});
    }
    it->second->stop = StopCause::kCancelled;
  }
  Wake();
  return absl::OkStatus();
}

void ThreadedEngine::CountTokens(Request request,
                                 std::function<void(absl::StatusOr<TokenCounts>)> done) {
  if (absl::Status status = CheckAdmission(); !status.ok()) {
    done(status);
    return;
  }
  ++num_waiting_;
  prep_->Add([this, box = std::make_shared<Request>(std::move(request)),
              done = std::move(done)](bool run) {
    --num_waiting_;
    if (!run) {
      done(ShuttingDown());
      return;
    }
    absl::StatusOr<Prompt> built = BuildCountedPrompt(std::move(*box));
    if (!built.ok()) {
      done(built.status());
      return;
    }
    auto prompt = std::make_shared<const Prompt>(*std::move(built));
    RunOnEngineThread([prompt, done](StepLoop* loop) {
      done(TokenCounts{.prompt_tokens = static_cast<int32_t>(prompt->token_ids.size()),
                       .image_tokens = prompt->num_image_tokens(),
                       .cached_prompt_tokens = loop != nullptr ? loop->CountCached(*prompt) : 0,
                       .num_images = static_cast<int32_t>(prompt->images.size())});
    });
  });
}

absl::StatusOr<Prompt> ThreadedEngine::BuildCountedPrompt(Request request) const {
  PREFIXD_ASSIGN_OR_RETURN(const std::shared_ptr<const PrefixEntry> prefix, MergePrefix(&request));
  const absl::Span<const KeptImage> kept =
      prefix == nullptr ? absl::Span<const KeptImage>() : prefix->kept;
  return parts_.prompts->Build(
      {.input = request.input,
       .tenant = request.tenant,
       .cache_salt = request.cache_salt,
       .share = parts_.options.prefix_cache && !request.bypass_prefix_cache,
       .kept = kept},
      ImageWork::kCountOnly);
}

void ThreadedEngine::Drain() {
  EngineState state = state_.load();
  while ((state == EngineState::kServing || state == EngineState::kLoading) &&
         !state_.compare_exchange_weak(state, EngineState::kDraining)) {
  }
}

int ThreadedEngine::WaitDrained(absl::Duration timeout) {
  const auto none_left = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return live_.empty(); };
  {
    MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(none_left, timeout)) return 0;
  }
  const int cut = StopAll(StopCause::kDraining);
  MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(none_left, kCutGrace);
  return cut;
}

std::shared_ptr<const EngineStats> ThreadedEngine::Stats() const {
  std::shared_ptr<EngineStats> stats;
  {
    MutexLock lock(&stats_mutex_);
    stats = std::make_shared<EngineStats>(*stats_);
  }
  stats->state = state_.load();
  stats->waiting = num_waiting_.load();
  return stats;
}

int ThreadedEngine::StopAll(StopCause cause) {
  int count = 0;
  {
    MutexLock lock(&mutex_);
    for (auto& [id, handle] : live_) {
      handle->stop = cause;
      ++count;
    }
  }
  Wake();
  return count;
}

void ThreadedEngine::Wake() {
  MutexLock lock(&mutex_);
  wake_ = true;
}

}  // namespace prefixd
