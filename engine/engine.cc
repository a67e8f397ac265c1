// The life of the engine and its thread.
#include "engine/threaded_engine.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "engine/error_reasons.h"
#include "engine/step_loop_internal.h"

namespace prefixd {
namespace {

constexpr absl::Duration kStatsPeriod = absl::Milliseconds(10);
// The least time after which a step is taken for one that hangs, unless the options say it.
constexpr absl::Duration kDeviceStepTimeout = absl::Seconds(30);
constexpr absl::Duration kHostStepTimeout = absl::Minutes(10);

}  // namespace

absl::Status ShuttingDown() { return Stopped(StopCause::kDraining); }

absl::Status UnknownTenant(absl::string_view tenant) {
  return MakeError(absl::StatusCode::kPermissionDenied, reason::kTenantQuota,
                   absl::StrCat("no tenant named ", tenant));
}

absl::Status EngineFailed() {
  return MakeError(absl::StatusCode::kUnavailable, reason::kEngineFailed, "the engine has failed");
}

ThreadedEngine::ThreadedEngine(EngineParts parts, const Clock* clock)
    : parts_(std::move(parts)),
      clock_(clock),
      tenant_waiting_(std::max<size_t>(1, parts_.options.tenants.size())),
      stats_(std::make_shared<EngineStats>()),
      prep_(std::make_unique<PrepPool>(parts_.options.prep_threads)) {
  classifier_ = std::make_unique<EngineClassifier>(
      ClassifierHost{.engine = this,
                     .tokenizer = &parts_.prompts->tokenizer(),
                     .clock = clock,
                     .options = parts_.options.classification,
                     .prefix_cache = parts_.options.prefix_cache,
                     .pins_prefixes = parts_.model_files->spec().sharing == Sharing::kCausal,
                     .max_calls = parts_.options.max_queue,
                     .admit = [this] { return CheckAdmission(); },
                     .prepare = [this](PrepPool::Job job) { prep_->Add(std::move(job)); }},
      std::move(parts_.class_sets));
}

ThreadedEngine::~ThreadedEngine() {
  state_ = EngineState::kStopped;
  prep_->Shutdown();
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
  const absl::Duration least = parts_.options.step_timeout > absl::ZeroDuration()
                                   ? parts_.options.step_timeout
                               : parts_.backend->info().in_flight > 1 ? kDeviceStepTimeout
                                                                      : kHostStepTimeout;
  watchdog_ = std::make_unique<Watchdog>(least, [this](absl::Duration elapsed) {
    PREFIXD_LOG(kError, "a step of the engine hangs since ", absl::FormatDuration(elapsed));
    state_ = EngineState::kFailed;
  });
  EngineState loading = EngineState::kLoading;
  state_.compare_exchange_strong(loading, EngineState::kServing);
  {
    MutexLock lock(&mutex_);
    thread_runs_ = true;
  }
  thread_ = std::jthread([this] { ThreadMain(); });
  return absl::OkStatus();
}

// --- The thread
// ------------------------------------------------------------------------------------

void ThreadedEngine::ThreadMain() {
  absl::Status end = ShuttingDown();
  try {
    RunLoop();
    if (!loop_->failure().ok()) end = EngineFailed();
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
    watchdog_->BeginStep();
    const bool worked = loop_->Step();
    watchdog_->EndStep();
    if (!loop_->failure().ok()) {
      PREFIXD_LOG(kError, "the engine stops: ", loop_->failure().message());
      state_ = EngineState::kFailed;
      return;
    }
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
  stats->scoring.class_sets = classifier_->num_sets();
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

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(const EngineOptions& options,
                                                     const Clock* clock) {
  PREFIXD_ASSIGN_OR_RETURN(EngineParts parts, OpenEngineParts(options));
  return std::make_unique<ThreadedEngine>(std::move(parts), clock);
}

}  // namespace prefixd
