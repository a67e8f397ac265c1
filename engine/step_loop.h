// What the engine thread does: takes prepared requests in, plans and runs steps, turns sampled
// tokens into events, and ends requests. It holds every live request and all KV. Engine thread
// only; it never waits, so tests drive it by hand.
#ifndef PREFIXD_ENGINE_STEP_LOOP_H_
#define PREFIXD_ENGINE_STEP_LOOP_H_

#include <array>
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
#include "engine/fair_share.h"
#include "engine/feature_cache.h"
#include "engine/kv_compressor.h"
#include "engine/model_runner.h"
#include "engine/models/model.h"
#include "engine/prefix_registry.h"
#include "engine/prefix_sharing.h"
#include "engine/quality_guard.h"
#include "engine/retention_catalogue.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/shadow_replay.h"
#include "engine/tokenizer/tokenizer.h"

namespace prefixd {

struct StepLoopOptions {
  std::string model_name;
  int32_t max_batch_tokens = 256;
  int32_t prefill_chunk = 0;  // 0: max_batch_tokens.
  int32_t max_running = 64;
  int32_t max_output_tokens = 4096;
  bool reserve_all = false;               // EngineOptions::admission is "reserve".
  double pinned_share = 0.5;              // Most of the pool that pinned prefixes hold.
  uint64_t feature_cache_memory = 0;      // Bytes.
  uint64_t page_bytes = 0;                // For receipts.
  uint64_t scoring_workspace = 32 << 20;  // Scratch of scored rows, bytes.
  std::vector<TenantOptions> tenants;     // Empty: one, without limits.
  PrefixRegistry* prefixes = nullptr;     // Null: none are pinned. Must outlive the loop.
  std::shared_ptr<const RetentionCatalogue> retention;  // Null: one without profiles.
  GuardOptions guard;
  int key_bits = 256;  // Tests cut keys to force collisions.
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

  // The limits that a model with this spec must be loaded with.
  static ModelLimits LimitsFor(const StepLoopOptions& options, const ModelSpec& spec);

  // Why the loop is of no use any more: the device is lost and every request has been ended. OK as
  // long as it is not.
  const absl::Status& failure() const { return failure_; }

  // Takes a prepared request: request, prompt, sink, handle, tenant and `submitted` are set. Ends
  // it at once if it can never fit or cannot meet its deadline.
  void Accept(std::unique_ptr<ActiveRequest> request);

  // Ends what was cancelled or ran out of time, admits, and runs one step. On a device that works
  // beside the host, steps in which requests merely decode on are launched before the tokens of the
  // last one are taken.
  // Returns false if there was nothing to compute.
  bool Step();

  // When time alone will end a request; infinite future if never.
  absl::Time NextTimer() const;

  // Ends every request with `status`.
  void FailAll(const absl::Status& status);

  // How long all prompts here take, for a request that waits for them all; zero if unknown.
  absl::Duration EstimatedWait() const;

  // Prompt tokens that a request with this prompt would take from the cache now.
  int32_t CountCached(const Prompt& prompt) const;

  // Drops what is cached and unused, of one tenant or (-1) of all. Image bytes are not its own.
  FlushResult Flush(int32_t tenant);

  PageMap MapPages(int32_t max_cells) const;

  // For looking only.
  const KvCache& cache() const { return cache_; }

  // Fills everything except the state and the image store's part.
  void FillStats(EngineStats* stats) const;

 private:
  StepLoop(const StepLoopOptions& options, Backend* backend, std::unique_ptr<Model> model,
           std::unique_ptr<KvPool> pool, const Tokenizer* tokenizer, const Clock* clock,
           Listener listener);

  // A prefix whose columns stay.
  struct PinnedPrefix {
    std::shared_ptr<PrefixEntry> entry;
    int32_t tenant = 0;
    PrefixIndex::Pin pin;
  };
  struct TenantTotals {
    uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  };

  // Arrival.
  absl::Status Prepare(ActiveRequest* request);
  void CapOutput(ActiveRequest* request) const;
  int64_t PagesFor(const ActiveRequest& request, int64_t new_tokens) const;
  absl::Status ForceOutput(ActiveRequest* request) const;
  absl::Status CheckCombination(const ActiveRequest& request) const;
  // Whether it can ever run, and in time.
  absl::Status CheckArrival(ActiveRequest* request) const;
  absl::Status CheckFits(const ActiveRequest& request) const;
  int32_t ExpectedRows(const ActiveRequest& request) const;
  absl::Status CheckDeadlineReachable(const ActiveRequest& request) const;
  // Prompt rows of the tenant's requests that are still to be computed.
  int64_t RowsAhead(int32_t tenant) const;
  // Prompt rows that are computed before those of `request`, which is not in a list yet.
  double RowsBefore(const ActiveRequest& request) const;

  // A step.
  void EndExpired();
  void BeginRound();
  void PublishComputed();
  void AdmitWaiting();
  bool Admit(ActiveRequest* request, std::vector<bool>* blocked);
  ActiveRequest* NextCandidate(const std::vector<bool>& blocked) const;
  void Start(ActiveRequest* request);
  void Announce(ActiveRequest* request);
  void FinishComplete();
  void Preempt(ActiveRequest* request);
  void MakePlan();
  void AfterForward();
  void EndPrefill(ActiveRequest* request);
  void NotePrefilled(ActiveRequest* request);
  void ChargeTenants(const StepPlan& plan);
  void Absorb(SampledToken* sampled);
  void AbsorbBeam(SampledToken* sampled);
  void AdvanceBeams(ActiveRequest* request);
  void FinishBeams(ActiveRequest* request, bool with_alive, FinishReason cut);
  void EmitToken(const SampledToken& sampled, std::string text);
  void ObserveStep(absl::Duration elapsed);
  // Takes the tokens of the oldest step in flight; what they end is swept.
  // Errors: the step failed as a whole; its requests were ended.
  absl::Status TakeTokens();
  void FailStep(const absl::Status& status, const std::vector<ActiveRequest*>& requests);

  // Running ahead: the step after the one in flight is launched before the tokens of that are
  // taken.
  bool StepsInFlight() const { return runner_->completed_steps() < runner_->launched_steps(); }
  bool CanRunAhead() const;
  // Whether `request` is what it was when the step in flight was planned, and its next step needs
  // no token on the host.
  bool DecodesOn(const ActiveRequest& request, absl::Time now) const;
  bool PlanAhead();
  void ContinueInFlight();

  // Retention.
  // By how much the quality guard has raised default budgets, the engine's and those of tenants.
  double budget_raise() const { return guard_.budget() - lowest_default_; }
  // Hands a request that finished to the quality guard.
  void Guard(ActiveRequest* request);
  // One piece of a replay, if nothing else is to be done. Returns false if there is none.
  bool ReplaySome();
  absl::Status PrepareRetention(ActiveRequest* request);
  absl::Status SetBoundary(ActiveRequest* request) const;
  void SetCheckpoints(ActiveRequest* request) const;
  int64_t PagesUnderBudget(const ActiveRequest& request, int64_t new_tokens) const;
  absl::Status EnsureScores(ActiveRequest* request);
  // Ends what lacks memory for its scores, and takes it out of the plan.
  void PrepareScores();
  // Ends a request whose budget could not be carried out.
  void FailBudget(ActiveRequest* request, const absl::Status& status);
  absl::Status AfterPiece(const PrefillPiece& piece);
  absl::Status StoreScores(ActiveRequest* request);
  absl::Status Select(ActiveRequest* request);
  void TakeSelection(const std::vector<LayerSelection>& selection, absl::Span<const float> scores,
                     ActiveRequest* request);
  absl::Status CompactScores(absl::Span<const float> scores, ActiveRequest* request);
  void NoteSnapshot(ActiveRequest* request);
  void BeginDrops(ActiveRequest* request);
  absl::Status ForkChoices(ActiveRequest* request);
  void DropAfterDecode();
  void RewindUnderBudget(ActiveRequest* request);
  int64_t DroppedSlots(const ActiveRequest& request) const;
  RetentionReceipt RetentionReceiptOf(const ActiveRequest& request) const;
  void AddToRetentionTotals(const ActiveRequest& request);
  void FillRetentionStats(RetentionStats* stats) const;

  // Scoring.
  absl::Status PrepareScoring(ActiveRequest* request);
  void TakeScratch(ActiveRequest* request);
  void StartCandidate(ActiveRequest* request);
  void BeginScoring(ActiveRequest* request);
  void AfterScores(const ScorePiece& piece);
  void FinishScoring(ActiveRequest* request);
  void AddToScoringTotals(const ScoringReceipt& receipt);
  void TakeYields(ActiveRequest* request);
  void GiveYields(ActiveRequest* request);
  absl::Status FinishEmbedding(ActiveRequest* request);

  // The end.
  void FinishChoice(ActiveRequest* request, Sequence* sequence, FinishReason reason);
  void FinishRequest(ActiveRequest* request);
  void TimeUp(ActiveRequest* request);
  void Fail(ActiveRequest* request, absl::Status status);
  void End(ActiveRequest* request, Event terminal);
  void Retire(Sequence* sequence);
  void FreeRetired();
  void Sweep();
  CacheReceipt ReceiptOf(const ActiveRequest& request) const;
  void AddToTotals(const ActiveRequest& request);

  // Pinned prefixes.
  absl::Status PinPrefix(ActiveRequest* request);
  void DropReleasedPins();
  void CountPinned();
  // Pages that one request of the tenant can have when no other runs.
  int64_t LonelyPages(int32_t tenant) const;

  void FillCacheStats(CacheStats* stats) const;
  void FillTenantStats(std::vector<TenantStats>* stats) const;
  int64_t HeldPages(const ActiveRequest& request) const;
  std::vector<const KvSequence*> LiveSequences() const;
  void CheckInvariants() const;

  const StepLoopOptions options_;
  Backend* const backend_;
  const std::unique_ptr<Model> model_;
  const std::unique_ptr<KvPool> pool_;
  const Tokenizer* const tokenizer_;
  const Clock* const clock_;
  const Listener listener_;
  KvCache cache_;
  FeatureCache features_;
  PrefixSharing sharing_;
  FairShare shares_;
  const Scheduler scheduler_;
  std::unique_ptr<ModelRunner> runner_;
  KvCompressor compressor_;
  const double lowest_default_;  // Of the default budgets; the guard starts from it.
  QualityGuard guard_;
  ShadowReplay replay_;
  uint64_t replays_dropped_ = 0;

  RequestList waiting_;  // Priority, then arrival.
  RequestList running_;  // In order of admission.
  // KV of ended sequences with the step that may still read it.
  std::vector<std::pair<uint64_t, KvSequence>> retired_;
  std::vector<PinnedPrefix> pinned_;
  std::vector<int64_t> pinned_pages_;  // By tenant; each page counted once.
  StepPlan plan_;
  StepResult result_;
  std::vector<SampledToken> samples_;
  StepPlan next_plan_;  // Of the step that is launched ahead.
  bool calm_ = false;   // Nothing has arrived, ended or been flushed since the last full plan.
  absl::Status failure_;
  uint64_t next_arrival_ = 0;
  double prefill_rows_per_second_ = 0;  // Moving average; 0: unknown.

  // Totals since start.
  absl::Duration step_time_, cache_time_;
  uint64_t steps_ = 0, prompt_tokens_ = 0, generated_tokens_ = 0, images_ = 0;
  uint64_t finished_ = 0, failed_ = 0, preemptions_ = 0, recomputed_ = 0, preempted_pages_ = 0;
  std::array<uint64_t, 6> finishes_{};
  CacheStats totals_;  // Of ended requests.
  RetentionStats retention_totals_;
  ScoringStats scoring_totals_;
  std::vector<TenantTotals> tenant_totals_;
  EngineHistograms histograms_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_STEP_LOOP_H_
