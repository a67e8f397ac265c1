// The engine behind engine.h: public calls, prompt preparation, and the thread that runs StepLoop.
#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/status_macros.h"
#include "engine/engine_parts.h"
#include "engine/error_reasons.h"
#include "engine/prep_pool.h"
#include "engine/prompt/merge_input.h"
#include "engine/step_loop.h"

namespace prefixd {
namespace {

constexpr absl::Duration kStatsPeriod = absl::Milliseconds(10);
constexpr absl::Duration kLeastRetryHint = absl::Milliseconds(100);
// How long WaitDrained gives requests to notice that they were cut.
constexpr absl::Duration kCutGrace = absl::Seconds(5);

absl::Status ShuttingDown() {
  return MakeError(absl::StatusCode::kUnavailable, "the server is shutting down",
                   ErrorDetail{.reason = reason::kDraining, .retry_after = absl::Seconds(1)});
}

absl::Status EngineFailed() {
  return MakeError(absl::StatusCode::kUnavailable, reason::kEngineFailed, "the engine has failed");
}

// A request whose tenant the engine does not know; the server names only those it was told of.
absl::Status UnknownTenant(absl::string_view tenant) {
  return MakeError(absl::StatusCode::kPermissionDenied, reason::kTenantQuota,
                   absl::StrCat("no tenant named ", tenant));
}

// Reports the end of a prefix's computation to whoever asked for it.
class PrefixSink final : public EventSink {
 public:
  using Done = std::function<void(absl::StatusOr<PrefixInfo>)>;

  PrefixSink(PrefixRegistry* prefixes, std::shared_ptr<PrefixEntry> entry, const Clock* clock,
             Done done)
      : prefixes_(*prefixes), entry_(std::move(entry)), clock_(*clock), done_(std::move(done)) {}

  void OnEvent(Event event) override {
    if (auto* failed = std::get_if<FailedEvent>(&event)) {
      prefixes_.Remove(*entry_);
      done_(std::move(failed->status));
    } else if (std::holds_alternative<FinishedEvent>(event)) {
      done_(prefixes_.Get(entry_->tenant, entry_->name, clock_.Now()));
    }
  }

 private:
  PrefixRegistry& prefixes_;
  const std::shared_ptr<PrefixEntry> entry_;
  const Clock& clock_;
  const Done done_;
};

class ThreadedEngine final : public Engine {
 public:
  ThreadedEngine(EngineParts parts, const Clock* clock)
      : parts_(std::move(parts)),
        clock_(clock),
        tenant_waiting_(std::max<size_t>(1, parts_.options.tenants.size())),
        stats_(std::make_shared<EngineStats>()),
        prep_(std::make_unique<PrepPool>(parts_.options.prep_threads)) {}

  ~ThreadedEngine() override;

  absl::Status LoadWeights(const std::function<bool(uint64_t, uint64_t)>& progress) override;
  const EngineModelInfo& model_info() const override { return parts_.model_info; }
  const EngineRuntimeInfo& runtime_info() const override { return parts_.runtime_info; }
  absl::Status Submit(Request request, std::shared_ptr<EventSink> sink) override;
  absl::Status Cancel(absl::string_view tenant, absl::string_view request_id) override;
  void Poke() override { Wake(); }
  void CountTokens(Request request, std::function<void(absl::StatusOr<TokenCounts>)> done) override;
  void CreatePrefix(PrefixSpec spec, std::function<void(absl::StatusOr<PrefixInfo>)> done) override;
  absl::StatusOr<PrefixInfo> GetPrefix(absl::string_view tenant, absl::string_view name) override {
    return parts_.prefixes->Get(tenant, name, clock_->Now());
  }
  std::vector<PrefixInfo> ListPrefixes(absl::string_view tenant) override {
    return parts_.prefixes->List(tenant, clock_->Now());
  }
  absl::StatusOr<PrefixInfo> TouchPrefix(absl::string_view tenant, absl::string_view name,
                                         std::optional<absl::Duration> ttl) override {
    return parts_.prefixes->Touch(tenant, name, ttl, clock_->Now());
  }
  absl::Status ReleasePrefix(absl::string_view tenant, absl::string_view name) override;
  void FlushCache(std::optional<std::string> tenant,
                  std::function<void(FlushResult)> done) override;
  void GetPageMap(int32_t max_cells, std::function<void(PageMap)> done) override;
  void Drain() override;
  int WaitDrained(absl::Duration timeout) override;
  std::shared_ptr<const EngineStats> Stats() const override;

 private:
  // What the engine thread does between steps; `loop` is null if there is none any more.
  using Command = std::function<void(StepLoop* loop)>;
  using LiveKey = std::pair<std::string, std::string>;  // Tenant, request id.

  absl::Status CheckAdmission() const;
  absl::Status CheckTenantQueue(int32_t tenant) const;
  // The tenant's index, or -1.
  int32_t TenantIndex(absl::string_view name) const;
  // The whole input, with that of the prefix it refers to in front, and the images kept with that.
  absl::Status MergePrefix(Request* request, std::vector<KeptImage>* kept) const;
  absl::Status Enqueue(std::unique_ptr<ActiveRequest> active);
  void RunOnEngineThread(Command command);
  absl::Status ChargeImages(ActiveRequest* request);
  void PrepareRequest(std::unique_ptr<ActiveRequest> request, bool run);
  absl::Status BuildPrompt(ActiveRequest* request, bool run) const;
  absl::Status BuildPinnedPrompt(ActiveRequest* request) const;
  absl::StatusOr<Prompt> BuildCountedPrompt(Request request) const;
  void Forget(const ActiveRequest& request);
  int StopAll(StopCause cause);
  void Wake();

  void ThreadMain();
  void RunLoop();
  void TakeInbox();
  void SleepUntil(absl::Time timer);
  void PublishStats();
  void FillImageStats(CacheStats* stats) const;

  EngineParts parts_;  // Constant after construction, except model_files.
  const Clock* const clock_;
  std::atomic<EngineState> state_{EngineState::kLoading};
  std::atomic<int32_t> num_waiting_{0};               // Submitted, not yet scheduled.
  std::vector<std::atomic<int32_t>> tenant_waiting_;  // Of them, by tenant.
  std::atomic<uint64_t> image_bytes_{0};              // Of pixels, of all live requests.
  std::atomic<int64_t> wait_estimate_ms_{0};

  mutable Mutex mutex_;
  absl::flat_hash_map<LiveKey, std::shared_ptr<RequestHandle>> live_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<ActiveRequest>> inbox_ ABSL_GUARDED_BY(mutex_);  // <= max_queue.
  std::vector<Command> commands_ ABSL_GUARDED_BY(mutex_);  // Bounded by the calls that wait.
  bool wake_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_thread_ ABSL_GUARDED_BY(mutex_) = false;
  bool thread_runs_ ABSL_GUARDED_BY(mutex_) = false;  // Commands are taken.
  bool thread_gone_ ABSL_GUARDED_BY(mutex_) = false;  // Nobody reads the inbox any more.

  mutable Mutex stats_mutex_;
  std::shared_ptr<const EngineStats> stats_ ABSL_GUARDED_BY(stats_mutex_);

  // Engine thread only.
  std::unique_ptr<StepLoop> loop_;
  absl::Time next_stats_ = absl::InfinitePast();

  std::unique_ptr<PrepPool> prep_;
  std::jthread thread_;
};

ThreadedEngine::~ThreadedEngine() {
  state_ = EngineState::kStopped;
  prep_.reset();
  {
    MutexLock lock(&mutex_);
    stop_thread_ = true;
    wake_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status ThreadedEngine::LoadWeights(const std::function<bool(uint64_t, uint64_t)>& progress) {
  PREFIXD_CHECK(state_ == EngineState::kLoading && loop_ == nullptr);
  absl::StatusOr<std::unique_ptr<StepLoop>> loop =
      BuildStepLoop(&parts_, progress, clock_,
                    {.on_scheduled =
                         [this](const ActiveRequest& request) {
                           --num_waiting_;
                           --tenant_waiting_[request.tenant];
                         },
                     .on_end = [this](const ActiveRequest& request) { Forget(request); }});
  if (!loop.ok()) {
    state_ = EngineState::kFailed;
    return loop.status();
  }
  loop_ = *std::move(loop);
  PublishStats();
  EngineState loading = EngineState::kLoading;
  state_.compare_exchange_strong(loading, EngineState::kServing);
  {
    MutexLock lock(&mutex_);
    thread_runs_ = true;
  }
  thread_ = std::jthread([this] { ThreadMain(); });
  return absl::OkStatus();
}

// --- Public calls
// ----------------------------------------------------------------------------------

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

absl::Status ThreadedEngine::MergePrefix(Request* request, std::vector<KeptImage>* kept) const {
  if (request->prefix.empty()) return absl::OkStatus();
  PREFIXD_ASSIGN_OR_RETURN(const std::shared_ptr<PrefixEntry> entry,
                           parts_.prefixes->Use(request->tenant, request->prefix));
  PREFIXD_ASSIGN_OR_RETURN(request->input, MergeInputs(entry->input, std::move(request->input)));
  // The prefix's own namespace, or its pages would not be found.
  if (request->cache_salt.empty()) request->cache_salt = entry->cache_salt;
  *kept = entry->kept;
  return absl::OkStatus();
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
  if (!parts_.options.prefix_cache) request.bypass_prefix_cache = true;
  PREFIXD_RETURN_IF_ERROR(MergePrefix(&request, &active->kept));
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
  std::vector<KeptImage> kept;
  PREFIXD_RETURN_IF_ERROR(MergePrefix(&request, &kept));
  return parts_.prompts->Build(
      {.input = request.input,
       .tenant = request.tenant,
       .cache_salt = request.cache_salt,
       .share = parts_.options.prefix_cache && !request.bypass_prefix_cache,
       .kept = kept},
      ImageWork::kCountOnly);
}

void ThreadedEngine::CreatePrefix(PrefixSpec spec,
                                  std::function<void(absl::StatusOr<PrefixInfo>)> done) {
  const int32_t tenant = TenantIndex(spec.tenant);
  if (tenant < 0) {
    done(UnknownTenant(spec.tenant));
    return;
  }
  if (!parts_.options.prefix_cache) {
    done(MakeError(absl::StatusCode::kFailedPrecondition, reason::kFeatureUnsupported,
                   "the prefix cache is off (--prefix-cache=false)"));
    return;
  }
  const std::vector<TenantOptions>& tenants = parts_.options.tenants;
  const int32_t total = parts_.options.max_prefixes;
  absl::StatusOr<std::shared_ptr<PrefixEntry>> entry = parts_.prefixes->Reserve(
      spec, {.total = total, .per_tenant = tenants.empty() ? total : tenants[tenant].max_prefixes});
  if (!entry.ok()) {
    done(entry.status());
    return;
  }
  auto active = std::make_unique<ActiveRequest>();
  active->pins = *entry;
  active->sink = std::make_shared<PrefixSink>(parts_.prefixes.get(), *entry, clock_, done);
  // Not a name that a client can give: it may not contain a space.
  active->request.id = absl::StrCat("prefix ", (*entry)->name);
  active->request.tenant = spec.tenant;
  active->request.input = std::move(spec.input);
  active->request.cache_salt = spec.cache_salt;
  active->request.deadline = spec.deadline;
  if (absl::Status status = Enqueue(std::move(active)); !status.ok()) {
    parts_.prefixes->Remove(**entry);
    done(std::move(status));
  }
}

absl::Status ThreadedEngine::ReleasePrefix(absl::string_view tenant, absl::string_view name) {
  PREFIXD_RETURN_IF_ERROR(parts_.prefixes->Release(tenant, name));
  Wake();
  return absl::OkStatus();
}

void ThreadedEngine::FlushCache(std::optional<std::string> tenant,
                                std::function<void(FlushResult)> done) {
  const int32_t index = tenant ? TenantIndex(*tenant) : -1;
  if (tenant && index < 0) {
    done({});
    return;
  }
  const uint64_t image_bytes = parts_.images->Flush(tenant);
  RunOnEngineThread([index, image_bytes, done = std::move(done)](StepLoop* loop) {
    FlushResult result = loop != nullptr ? loop->Flush(index) : FlushResult{};
    result.image_bytes = image_bytes;
    done(result);
  });
}

void ThreadedEngine::GetPageMap(int32_t max_cells, std::function<void(PageMap)> done) {
  RunOnEngineThread([max_cells, done = std::move(done)](StepLoop* loop) {
    done(loop != nullptr ? loop->MapPages(max_cells) : PageMap{});
  });
}

void ThreadedEngine::RunOnEngineThread(Command command) {
  {
    MutexLock lock(&mutex_);
    if (thread_runs_ && !thread_gone_) {
      commands_.push_back(std::move(command));
      wake_ = true;
      return;
    }
  }
  command(nullptr);
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

// --- Preparation (prep threads)
// --------------------------------------------------------------------

void ThreadedEngine::PrepareRequest(std::unique_ptr<ActiveRequest> request, bool run) {
  absl::Status status = BuildPrompt(request.get(), run);
  if (status.ok()) {
    MutexLock lock(&mutex_);
    if (!thread_gone_) {
      inbox_.push_back(std::move(request));
      wake_ = true;
      return;
    }
    status = EngineFailed();
  }
  Forget(*request);
  request->sink->OnEvent(FailedEvent{std::move(status)});
}

absl::Status ThreadedEngine::BuildPrompt(ActiveRequest* request, bool run) const {
  if (!run || request->handle->stop.load() == StopCause::kDraining) {
    return ShuttingDown();
  }
  if (request->handle->stop.load() == StopCause::kCancelled) {
    return MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "the request was cancelled");
  }
  if (clock_->Now() >= request->request.deadline) {
    return MakeError(absl::StatusCode::kDeadlineExceeded, reason::kDeadlineExceeded,
                     "the deadline passed");
  }
  try {
    if (request->pins != nullptr) {
      PREFIXD_RETURN_IF_ERROR(BuildPinnedPrompt(request));
    } else {
      const Request& wanted = request->request;
      PREFIXD_ASSIGN_OR_RETURN(request->prompt,
                               parts_.prompts->Build({.input = wanted.input,
                                                      .tenant = wanted.tenant,
                                                      .cache_salt = wanted.cache_salt,
                                                      .share = !wanted.bypass_prefix_cache,
                                                      .kept = request->kept},
                                                     ImageWork::kDecode));
    }
  } catch (const std::exception&) {  // Out of memory in a library.
    return MakeError(absl::StatusCode::kResourceExhausted, reason::kEngineFailed,
                     "the prompt could not be prepared");
  }
  request->request.input = PromptInput{};  // The encoded bytes are not needed any more.
  return absl::OkStatus();
}

// Prepares a prefix, and completes its entry: its images are kept, and named by digest from now on.
absl::Status ThreadedEngine::BuildPinnedPrompt(ActiveRequest* request) const {
  PrefixEntry* const entry = request->pins.get();
  PREFIXD_ASSIGN_OR_RETURN(entry->kept, parts_.prompts->KeepImages(entry->tenant, &entry->input));
  PREFIXD_ASSIGN_OR_RETURN(request->prompt,
                           parts_.prompts->BuildPrefix({.input = entry->input,
                                                        .tenant = entry->tenant,
                                                        .cache_salt = entry->cache_salt,
                                                        .share = true,
                                                        .kept = entry->kept}));
  return absl::OkStatus();
}

// The id is free again, and the request no longer counts as waiting.
void ThreadedEngine::Forget(const ActiveRequest& request) {
  if (!request.started) {
    --num_waiting_;
    --tenant_waiting_[request.tenant];
  }
  image_bytes_ -= request.image_bytes;
  MutexLock lock(&mutex_);
  live_.erase(LiveKey(request.request.tenant, request.request.id));
}

// --- The engine thread
// -----------------------------------------------------------------------------

void ThreadedEngine::ThreadMain() {
  absl::Status end = ShuttingDown();
  try {
    RunLoop();
  } catch (const std::exception& error) {
    PREFIXD_LOG(kError, "engine thread: ", error.what());
    state_ = EngineState::kFailed;
    end = EngineFailed();
  }
  {
    MutexLock lock(&mutex_);
    thread_gone_ = true;
  }
  TakeInbox();
  loop_->FailAll(end);
  PublishStats();
}

void ThreadedEngine::RunLoop() {
  while (true) {
    TakeInbox();
    const bool worked = loop_->Step();
    if (!worked || clock_->Now() >= next_stats_) PublishStats();
    {
      MutexLock lock(&mutex_);
      if (stop_thread_) break;
    }
    if (!worked) SleepUntil(loop_->NextTimer());
  }
}

void ThreadedEngine::TakeInbox() {
  std::vector<std::unique_ptr<ActiveRequest>> taken;
  std::vector<Command> commands;
  {
    MutexLock lock(&mutex_);
    taken.swap(inbox_);
    commands.swap(commands_);
    wake_ = false;
  }
  for (auto& request : taken) loop_->Accept(std::move(request));
  for (const Command& command : commands) command(loop_.get());
}

void ThreadedEngine::SleepUntil(absl::Time timer) {
  const absl::Duration timeout = timer - clock_->Now();
  const auto woken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return wake_; };
  MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(woken, timeout);
}

void ThreadedEngine::PublishStats() {
  auto stats = std::make_shared<EngineStats>();
  loop_->FillStats(stats.get());
  FillImageStats(&stats->cache);
  wait_estimate_ms_ = absl::ToInt64Milliseconds(loop_->EstimatedWait());
  next_stats_ = clock_->Now() + kStatsPeriod;
  MutexLock lock(&stats_mutex_);
  stats_ = std::move(stats);
}

void ThreadedEngine::FillImageStats(CacheStats* stats) const {
  const ImageStore::Stats images = parts_.images->stats();
  stats->image_hits = images.hits;
  stats->image_misses = images.misses;
  stats->image_bytes = images.bytes;
  stats->image_entries = images.entries;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options,
                                                     const Clock* clock) {
  PREFIXD_ASSIGN_OR_RETURN(EngineParts parts, OpenEngineParts(options));
  return std::make_unique<ThreadedEngine>(std::move(parts), clock);
}

}  // namespace prefixd
