// What the engine thread does: takes prepared requests in, plans and runs steps, turns sampled
// tokens into events, and ends requests. It holds every live request and all KV. Engine thread
// only; it never waits, so tests drive it by hand.
#ifndef PREFIXD_ENGINE_STEP_LOOP_H_
#define PREFIXD_ENGINE_STEP_LOOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "cache/kv_cache.h"
#include "engine/backend/backend.h"
#include "engine/engine.h"
#include "engine/model_runner.h"
#include "engine/models/model.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

struct StepLoopOptions {
  std::string model_name;
  int32_t max_batch_tokens = 256;
  int32_t prefill_chunk = 0;  // 0: max_batch_tokens.
  int32_t max_running = 64;
  int32_t max_output_tokens = 4096;
  bool check_invariants = false;
};

class StepLoop {
 public:
  struct Listener {
    std::function<void(const ActiveRequest&)> on_scheduled;
    // Before the terminal event: the id may be used again.
    std::function<void(const ActiveRequest&)> on_end;
  };

  // Everything but `pool` and `model` must outlive the loop.
  static absl::StatusOr<std::unique_ptr<StepLoop>> Create(const StepLoopOptions& options,
                                                          Backend* backend,
                                                          std::unique_ptr<Model> model,
                                                          std::unique_ptr<KvPool> pool,
                                                          const Tokenizer* tokenizer,
                                                          const Clock* clock, Listener listener);
  ~StepLoop();

  // The limits that `model` must be loaded with.
  static ModelLimits LimitsFor(const StepLoopOptions& options);

  // Takes a prepared request: request, prompt, sink, handle and `submitted` are set. Ends it at
  // once if it can never fit or cannot meet its deadline.
  void Accept(std::unique_ptr<ActiveRequest> request);

  // Ends what was cancelled or ran out of time, admits, and runs one step.
  // Returns false if there was nothing to compute.
  bool Step();

  // When time alone will end a request; infinite future if never.
  absl::Time NextTimer() const;

  // Ends every request with `status`.
  void FailAll(const absl::Status& status);

  // How long a request arriving now would wait for its prefill to begin; zero if unknown.
  absl::Duration EstimatedWait() const;

  // Fills everything except the state.
  void FillStats(EngineStats* stats) const;

 private:
  StepLoop(const StepLoopOptions& options, std::unique_ptr<Model> model,
           std::unique_ptr<KvPool> pool, const Tokenizer* tokenizer, const Clock* clock,
           Listener listener);

  absl::Status Prepare(ActiveRequest* request);
  void CapOutput(ActiveRequest* request) const;
  int64_t PagesFor(const ActiveRequest& request, int64_t new_tokens) const;
  absl::Status CheckDeadlineReachable(const ActiveRequest& request) const;
  void AdmitWaiting();
  void EndExpired();
  void Start(ActiveRequest* request);
  void Absorb(SampledToken* sampled);
  void EmitToken(const SampledToken& sampled, std::string text);
  void FinishChoice(ActiveRequest* request, Sequence* sequence, FinishReason reason);
  void FinishRequest(ActiveRequest* request);
  void TimeUp(ActiveRequest* request);
  void Fail(ActiveRequest* request, absl::Status status);
  void End(ActiveRequest* request, Event terminal);
  void Sweep();
  int64_t RowsAhead() const;
  void ObserveRate(const StepPlan& plan, absl::Duration elapsed);
  void CheckInvariants() const;

  const StepLoopOptions options_;
  const std::unique_ptr<Model> model_;
  const std::unique_ptr<KvPool> pool_;
  const Tokenizer* const tokenizer_;
  const Clock* const clock_;
  const Listener listener_;
  const Scheduler scheduler_;
  KvCache cache_;
  std::unique_ptr<ModelRunner> runner_;

  std::vector<std::unique_ptr<ActiveRequest>> waiting_;  // Priority, then arrival.
  std::vector<std::unique_ptr<ActiveRequest>> running_;  // In order of admission.
  // KV of ended sequences with the step that may still read it.
  std::vector<std::pair<uint64_t, KvSequence>> retired_;
  StepPlan plan_;
  StepResult result_;
  uint64_t next_arrival_ = 0;
  double prefill_rows_per_second_ = 0;  // Moving average; 0: unknown.

  // Totals since start.
  uint64_t steps_ = 0, prompt_tokens_ = 0, generated_tokens_ = 0, images_ = 0;
  uint64_t finished_ = 0, failed_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_STEP_LOOP_H_
