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

uint64_t NumImages(const Input& input) {
  const auto count = [](const std::vector<Part>& parts) {
    return static_cast<uint64_t>(std::count_if(parts.begin(), parts.end(), [](const Part& part) {
      return std::holds_alternative<ImagePart>(part);
    }));
  };
  if (const auto* tokens = std::get_if<TokenInput>(&input)) return tokens->images.size();
  if (const auto* prompt = std::get_if<PromptInput>(&input)) return count(prompt->parts);
  uint64_t total = 0;
  for (const ChatMessage& message : std::get<ChatInput>(input).messages) {
    total += count(message.parts);
  }
  return total;
}

class ThreadedEngine final : public Engine {
 public:
  ThreadedEngine(EngineParts parts, const Clock* clock)
      : parts_(std::move(parts)),
        clock_(clock),
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
  void CreatePrefix(PrefixSpec, std::function<void(absl::StatusOr<PrefixInfo>)> done) override {
    done(absl::UnimplementedError("prefixes"));
  }
  absl::StatusOr<PrefixInfo> GetPrefix(absl::string_view, absl::string_view) override {
    return absl::UnimplementedError("prefixes");
  }
  std::vector<PrefixInfo> ListPrefixes(absl::string_view) override { return {}; }
  absl::StatusOr<PrefixInfo> TouchPrefix(absl::string_view, absl::string_view,
                                         std::optional<absl::Duration>) override {
    return absl::UnimplementedError("prefixes");
  }
  absl::Status ReleasePrefix(absl::string_view, absl::string_view) override {
    return absl::UnimplementedError("prefixes");
  }
  void FlushCache(std::optional<std::string>, std::function<void(FlushResult)> done) override {
    done({});
  }
  void GetPageMap(int32_t, std::function<void(PageMap)> done) override { done({}); }
  void Drain() override;
  int WaitDrained(absl::Duration timeout) override;
  std::shared_ptr<const EngineStats> Stats() const override;

 private:
  absl::Status CheckAdmission() const;
  absl::Status ChargeImages(ActiveRequest* request);
  void PrepareRequest(std::unique_ptr<ActiveRequest> request, bool run);
  absl::Status BuildPrompt(ActiveRequest* request, bool run) const;
  void Forget(const ActiveRequest& request);
  int StopAll(StopCause cause);
  void Wake();

  void ThreadMain();
  void RunLoop();
  void TakeInbox();
  void SleepUntil(absl::Time timer);
  void PublishStats();

  EngineParts parts_;  // Constant after construction, except model_files.
  const Clock* const clock_;
  std::atomic<EngineState> state_{EngineState::kLoading};
  std::atomic<int32_t> num_waiting_{0};   // Submitted, not yet scheduled.
  std::atomic<uint64_t> image_bytes_{0};  // Of pixels, of all live requests.
  std::atomic<int64_t> wait_estimate_ms_{0};

  mutable Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<RequestHandle>> live_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<ActiveRequest>> inbox_ ABSL_GUARDED_BY(mutex_);  // <= max_queue.
  bool wake_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_thread_ ABSL_GUARDED_BY(mutex_) = false;
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
                    {.on_scheduled = [this](const ActiveRequest&) { --num_waiting_; },
                     .on_end = [this](const ActiveRequest& request) { Forget(request); }});
  if (!loop.ok()) {
    state_ = EngineState::kFailed;
    return loop.status();
  }
  loop_ = *std::move(loop);
  PublishStats();
  EngineState loading = EngineState::kLoading;
  state_.compare_exchange_strong(loading, EngineState::kServing);
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
  request->image_bytes = NumImages(request->request.input) * parts_.image_bytes;
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

absl::Status ThreadedEngine::Submit(Request request, std::shared_ptr<EventSink> sink) {
  PREFIXD_CHECK(!request.id.empty() && sink != nullptr);
  PREFIXD_RETURN_IF_ERROR(CheckAdmission());
  auto active = std::make_unique<ActiveRequest>();
  active->handle = std::make_shared<RequestHandle>();
  active->sink = std::move(sink);
  active->submitted = clock_->Now();
  active->request = std::move(request);
  PREFIXD_RETURN_IF_ERROR(ChargeImages(active.get()));
  {
    MutexLock lock(&mutex_);
    if (!live_.emplace(active->request.id, active->handle).second) {
      image_bytes_ -= active->image_bytes;
      return MakeError(absl::StatusCode::kAlreadyExists, reason::kRequestExists,
                       absl::StrCat("a request with id ", active->request.id, " is running"),
                       {{"request_id", active->request.id}});
    }
  }
  ++num_waiting_;
  // std::function must be copyable, so the request travels in a shared pointer.
  auto box = std::make_shared<std::unique_ptr<ActiveRequest>>(std::move(active));
  prep_->Add([this, box](bool run) { PrepareRequest(std::move(*box), run); });
  return absl::OkStatus();
}

absl::Status ThreadedEngine::Cancel(absl::string_view tenant, absl::string_view request_id) {
  (void)tenant;
  {
    MutexLock lock(&mutex_);
    const auto it = live_.find(request_id);
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
  prep_->Add([this, input = std::make_shared<Input>(std::move(request.input)),
              done = std::move(done)](bool run) {
    --num_waiting_;
    if (!run) {
      done(ShuttingDown());
      return;
    }
    const absl::StatusOr<Prompt> prompt = parts_.prompts->Build(*input, ImageWork::kCountOnly);
    if (!prompt.ok()) {
      done(prompt.status());
      return;
    }
    done(TokenCounts{.prompt_tokens = static_cast<int32_t>(prompt->token_ids.size()),
                     .image_tokens = prompt->num_image_tokens(),
                     .num_images = static_cast<int32_t>(prompt->images.size())});
  });
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
    PREFIXD_ASSIGN_OR_RETURN(request->prompt,
                             parts_.prompts->Build(request->request.input, ImageWork::kDecode));
  } catch (const std::exception&) {  // Out of memory in a library.
    return MakeError(absl::StatusCode::kResourceExhausted, reason::kEngineFailed,
                     "the prompt could not be prepared");
  }
  request->request.input = PromptInput{};  // The encoded bytes are not needed any more.
  return absl::OkStatus();
}

// The id is free again, and the request no longer counts as waiting.
void ThreadedEngine::Forget(const ActiveRequest& request) {
  if (request.phase == ActiveRequest::Phase::kWaiting) --num_waiting_;
  image_bytes_ -= request.image_bytes;
  MutexLock lock(&mutex_);
  live_.erase(request.request.id);
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
  {
    MutexLock lock(&mutex_);
    taken.swap(inbox_);
    wake_ = false;
  }
  for (auto& request : taken) loop_->Accept(std::move(request));
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
  stats->page_bytes = parts_.page_bytes;
  wait_estimate_ms_ = absl::ToInt64Milliseconds(loop_->EstimatedWait());
  next_stats_ = clock_->Now() + kStatsPeriod;
  MutexLock lock(&stats_mutex_);
  stats_ = std::move(stats);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options,
                                                     const Clock* clock) {
  PREFIXD_ASSIGN_OR_RETURN(EngineParts parts, OpenEngineParts(options));
  return std::make_unique<ThreadedEngine>(std::move(parts), clock);
}

}  // namespace prefixd
