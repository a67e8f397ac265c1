// The engine behind engine.h: public calls, prompt preparation, and the thread that runs StepLoop.
// Its parts are in engine.cc (life and thread), engine_calls.cc, engine_prefixes.cc (pinned
// prefixes, operators) and engine_prepare.cc.
#ifndef PREFIXD_ENGINE_THREADED_ENGINE_H_
#define PREFIXD_ENGINE_THREADED_ENGINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "base/mutex.h"
#include "engine/classifier.h"
#include "engine/engine.h"
#include "engine/engine_parts.h"
#include "engine/prep_pool.h"
#include "engine/step_loop.h"
#include "engine/watchdog.h"

namespace prefixd {

class ThreadedEngine final : public Engine {
 public:
  ThreadedEngine(EngineParts parts, const Clock* clock);

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
  Classifier* classifier() override { return classifier_.get(); }
  void FlushCache(std::optional<std::string> tenant,
                  std::function<void(FlushResult)> done) override;
  void GetPageMap(int32_t max_cells, std::function<void(PageMap)> done) override;
  void Drain() override;
  bool Hung() const override { return watchdog_ != nullptr && watchdog_->hung(); }
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
  // Puts the input of the prefix that the request refers to in front of its own. Returns the
  // prefix, null if it refers to none.
  absl::StatusOr<std::shared_ptr<const PrefixEntry>> MergePrefix(Request* request) const;
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

  std::unique_ptr<Watchdog> watchdog_;  // From LoadWeights on.

  // Engine thread only.
  std::unique_ptr<StepLoop> loop_;
  absl::Time next_stats_ = absl::InfinitePast();

  std::unique_ptr<EngineClassifier> classifier_;
  std::unique_ptr<PrepPool> prep_;
  std::jthread thread_;
};

// What callers get while the engine stops, or once it failed.
absl::Status ShuttingDown();
absl::Status EngineFailed();
// For a tenant that the engine does not know; the server names only those it was told of.
absl::Status UnknownTenant(absl::string_view tenant);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_THREADED_ENGINE_H_
