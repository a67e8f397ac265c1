// Decides what the next step computes: decodes first, then pieces of prefill and of image towers
// under the step's row budget; whether a waiting request may start; and who is preempted when pages
// or places lack. No I/O, clock or thread of its own. Engine thread only.
//
// Nobody starves and nothing locks up: within a tenant the oldest request of the highest priority
// takes pages from all others, between tenants the one that holds less for its weight takes from
// the one that holds more, and every request fits the pool alone (docs/decisions.md, rule 12).
#ifndef PREFIXD_ENGINE_SCHEDULER_H_
#define PREFIXD_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "cache/kv_cache.h"
#include "engine/fair_share.h"
#include "engine/sequence.h"

namespace prefixd {

struct SchedulerOptions {
  int32_t max_batch_rows = 256;    // Rows of a step; >= max_running.
  int32_t max_prefill_rows = 256;  // Largest prefill piece of one request in a step.
  int32_t max_running = 64;        // Choices that run at once; parked ones do not count.
  int32_t max_logit_rows = 128;    // Of a step; > max_running.
  bool reserve = false;            // A request starts only when all it may ever hold is free.
  std::vector<int32_t> tenant_max_running;  // By tenant: choices.
};

// Rows of `sequence->tokens` from its KV's end on.
struct PrefillPiece {
  ActiveRequest* request = nullptr;
  Sequence* sequence = nullptr;
  int32_t num_rows = 0;
  bool ends_prompt = false;  // Afterwards all choices of the request go on from here.
  bool samples = false;      // Its last row yields logits.
};
// Rows of a request's candidates; none: what the state of its context yields.
struct ScorePiece {
  ActiveRequest* request = nullptr;
  int32_t num_rows = 0;
};
struct ImagePiece {
  ActiveRequest* request = nullptr;
  size_t image = 0;
  int32_t num_steps = 0;  // Of its encoding; 1 for one that is not begun.
};
struct DecodeRow {
  ActiveRequest* request = nullptr;
  Sequence* sequence = nullptr;
};

// The work of one step. Pointers are valid until the step's results were taken.
struct StepPlan {
  std::vector<DecodeRow> decodes;
  std::vector<PrefillPiece> prefills;
  std::vector<ScorePiece> scores;
  std::vector<ImagePiece> images;

  size_t num_prompt_pieces() const { return prefills.size() + scores.size() + images.size(); }
  bool empty() const { return decodes.empty() && num_prompt_pieces() == 0; }
  void Clear();
};

// Pages that the choices of a request hold apart from shared columns, each once.
int64_t OwnPages(const KvCache& cache, const ActiveRequest& request);

using RequestList = std::vector<std::unique_ptr<ActiveRequest>>;

class Scheduler {
 public:
  // `cache` and `shares` must outlive the scheduler.
  Scheduler(const SchedulerOptions& options, KvCache* cache, FairShare* shares)
      : options_(options), cache_(*cache), shares_(*shares) {}

  enum class Start { kYes, kNoPlace, kPoolFull, kTenantFull };
  // Whether `request`, which holds what it shares and nothing else, may start beside `running`.
  Start CanStart(const ActiveRequest& request, const RequestList& running) const;

  // Whom to preempt so that `request` may start; null: it waits. Of another tenant nobody
  // who was preempted before and has not generated a token since, unless parked: so two that cannot
  // run together both get on.
  ActiveRequest* VictimToStart(const ActiveRequest& request, Start why,
                               const RequestList& running) const;

  struct Outcome {
    ActiveRequest* lacks = nullptr;   // Pages lack for it; null: the plan stands.
    ActiveRequest* victim = nullptr;  // Whom to preempt before planning again; may be `lacks`.
  };
  // Fills `plan` and reserves its pages. Parked requests and those that wait for another get
  // nothing. Every other running request progresses: prefill is served by fair share, then in
  // order of admission, whoever got nothing for long first; at least one row or tower step is
  // planned when any is due.
  // `step` numbers the steps.
  Outcome Plan(const RequestList& running, uint64_t step, StepPlan* plan) const;

 private:
  struct Budget {
    int32_t rows = 0;
    int32_t logit_rows = 0;
    int32_t piece_rows = 0;  // Largest piece of one request.
  };

  Outcome PlanDecodes(const RequestList& running, Budget* budget, StepPlan* plan) const;
  Outcome PlanPrompt(const RequestList& running, ActiveRequest* request, Budget* budget,
                     StepPlan* plan) const;
  Outcome PlanRows(const RequestList& running, ActiveRequest* request, Sequence* sequence,
                   int32_t ready, Budget* budget, StepPlan* plan) const;
  Outcome PlanScores(const RequestList& running, ActiveRequest* request, Budget* budget,
                     StepPlan* plan) const;
  void PlanImage(ActiveRequest* request, Budget* budget, StepPlan* plan) const;
  // What happens when `num_pages` cannot be had for `request`.
  ActiveRequest* VictimForPages(const ActiveRequest& request, KvCache::Room room,
                                const RequestList& running) const;
  bool HoldsMore(int32_t a, int32_t b) const;

  const SchedulerOptions options_;
  KvCache& cache_;
  FairShare& shares_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SCHEDULER_H_
