// One core with its clients, in virtual time. Whoever drives it submits requests, does things to
// them, and lets the core take steps; the world compares everything that happens with the oracle
// and counts the core's pages, requests and totals afresh after every step.
#ifndef PREFIXD_TESTS_SIMULATION_WORLD_H_
#define PREFIXD_TESTS_SIMULATION_WORLD_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "tests/simulation/core_adapter.h"
#include "tests/simulation/live_request.h"
#include "tests/simulation/report.h"
#include "tests/simulation/scenario.h"
#include "tests/simulation/sim_backend.h"
#include "tests/simulation/sim_memory.h"
#include "tests/simulation/sim_model.h"

namespace prefixd::simulation {

class World {
 public:
  // `durations`: of steps, in turn. `report` must outlive the world.
  World(const Config& config, std::vector<TenantSpec> tenants, std::vector<int64_t> durations,
        Report* report);

  // Each is one event.
  void Submit(const RequestSpec& spec);
  void Apply(const Action& action);
  // Lets the core take one step. Returns false if it had nothing to compute.
  bool Step();

  // Ends the run: faults off, all readers read. Everything must end within a bounded number of
  // steps and leave nothing behind; with `fail_all`, at once.
  void Heal(bool fail_all);

  int64_t NowUs() const;
  // Moves time to `us`, unless it is later already.
  void AdvanceTo(int64_t us);
  // When time alone will end a request; negative: never.
  int64_t NextTimerUs() const;
  // Requests that have not ended.
  int64_t num_live() const { return num_live_; }
  // What tells this state from others, as far as the future depends on it.
  uint64_t StateHash() const;

 private:
  void Cancel(LiveRequest* request, bool draining);
  void Stall(LiveRequest* request, int64_t steps);
  void OnServed(const LiveRequest& request, int64_t rows);
  void OnPrompt(const LiveRequest& request);
  void OnScheduled(LiveRequest* request);
  void OnEnd(LiveRequest* request);
  void OnEvent(LiveRequest* request, Event event);
  void OnStarted(LiveRequest* request, const StartedEvent& event);
  void OnDelta(LiveRequest* request, const DeltaEvent& event);
  void OnChoiceFinished(LiveRequest* request, const ChoiceFinishedEvent& event);
  void OnFinished(LiveRequest* request, const FinishedEvent& event);
  void OnFailed(LiveRequest* request, const absl::Status& status);
  void CheckRefusal(const LiveRequest& request, absl::string_view reason);

  void CheckPinnedHit(const LiveRequest& request, int32_t hit_tokens);
  void CheckReceipt(const LiveRequest& request, const FinishedEvent& event);
  void CheckRetention(LiveRequest* request, const FinishedEvent& event);

  void BeginStep();
  void AuditEnds(absl::Time step_begin);
  void AuditPages(const EngineStats& stats);
  void AuditIndex(const EngineStats& stats);
  void AuditTotals(const EngineStats& stats);
  void AuditTenants(const EngineStats& stats);
  void AuditFloors(const EngineStats& stats);
  void AuditFairness();
  void BeginShares();
  void EndShares();
  // Whether nothing limits the tenant but its share.
  bool IsFree(size_t tenant) const;
  void CheckTurn(const LiveRequest& request);
  void NoteWaitsAndPreemptions();
  void NoteEvictions();
  void NoteDrops(const Core::Table& table);
  void CheckNothingLeft();
  std::string DescribeLive() const;
  // Most pages that one request of the tenant can have, while nothing is pinned.
  int64_t LonelyPages(int64_t tenant) const;
  int64_t MaxChoices(int64_t tenant) const;
  int64_t StepsToHeal() const;
  bool TimePassed(absl::Time limit) const { return clock_.Now() >= limit; }
  LiveRequest* Find(int64_t id) const;
  void Fail(absl::string_view rule, const LiveRequest& request, absl::string_view what);

  const Config config_;
  const std::vector<TenantSpec> tenants_;  // At least one.
  Report* const report_;
  ManualClock clock_;
  const absl::Time start_;
  Faults faults_;
  SimBackend backend_;
  SimPool* pool_ = nullptr;
  SimModel* model_ = nullptr;
  std::map<int64_t, std::unique_ptr<LiveRequest>> requests_;  // By id, ended ones included.
  std::unique_ptr<Core> core_;

  bool healing_ = false, failing_all_ = false;
  LiveRequest* submitting_ = nullptr;
  std::vector<Core::Table> tables_;
  std::vector<int32_t> claims_;

  // Recounted from events.
  int64_t num_live_ = 0;
  uint64_t finished_ = 0, failed_ = 0, generated_ = 0, prompt_tokens_ = 0, images_ = 0;
  struct Tenant {
    uint64_t generated = 0, hits = 0;
    double counter = 0;         // What FairShare should count.
    bool asking = false;        // It has prompts that are not computed, in this step.
    bool left_waiting = false;  // It asked for more than the last step did.
    double served = 0;          // Rows computed for its weight.
    bool idle = false;          // Nothing of it lived when the step began.
    int64_t cached_pages = 0;   // When the step began.
    bool backlogged = false;    // Somebody waits for a place, not for another request.
  };
  std::vector<Tenant> counted_;  // By tenant.
  std::vector<double> leads_;    // By pair of tenants: a's lead in work when both had a backlog.
  std::vector<bool> competing_;  // By pair: both have had a backlog since.
  bool shares_begun_ = false;    // In this step.
  double level_ = 0;             // The highest counter of those that asked.
  bool pinned_ever_ = false, uncounted_ever_ = false, stalled_ever_ = false, flushed_ = false;
  bool ended_in_last_step_ = false, ended_in_step_ = false;
  PrefixIndex::Counters index_before_;
  SnapshotStore::Counters snapshots_before_;
  std::vector<const LiveRequest*> prompts_in_step_;  // That were complete for the first time.
};

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_WORLD_H_
