// Decides what the next step computes: decodes first, then pieces of prefill and of image towers
// under the step's row budget; admits waiting requests while their pages can be promised.
// No I/O, clock or thread of its own. Engine thread only.
#ifndef PREFIXD_ENGINE_SCHEDULER_H_
#define PREFIXD_ENGINE_SCHEDULER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/sequence.h"

namespace prefixd {

struct SchedulerOptions {
  int32_t max_batch_rows = 256;    // Rows of a step; >= max_running.
  int32_t max_prefill_rows = 256;  // Largest prefill piece of one request in a step.
  int32_t max_running = 64;        // Choices that run at once.
  int64_t num_pages = 0;           // Of the cache; promises never exceed it.
};

struct PrefillPiece {
  ActiveRequest* request = nullptr;
  int32_t num_rows = 0;  // From request->computed_rows on.
  bool last = false;     // Ends the prompt: its last row yields logits.
};
struct ImagePiece {
  ActiveRequest* request = nullptr;
  int32_t num_steps = 0;  // Of the encoding of request->next_image; 1 for one that is not begun.
};
struct DecodeRow {
  ActiveRequest* request = nullptr;
  Sequence* sequence = nullptr;
};

// The work of one step. Pointers are valid until the step's results were taken.
struct StepPlan {
  std::vector<DecodeRow> decodes;
  std::vector<PrefillPiece> prefills;
  std::vector<ImagePiece> images;

  bool empty() const { return decodes.empty() && prefills.empty() && images.empty(); }
  void Clear();
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options) : options_(options) {}

  // Moves requests from `waiting` (in order: priority, then arrival) to phase kPrefill while
  // choices and pages last; the first that does not fit blocks those behind it, so nobody starves.
  // Returns those admitted; `running` are the requests admitted before.
  std::vector<ActiveRequest*> Admit(
      const std::vector<std::unique_ptr<ActiveRequest>>& running,
      const std::vector<std::unique_ptr<ActiveRequest>>& waiting) const;

  // Fills `plan`. Parked requests get nothing. A decode round larger than the budget cannot occur
  // (max_batch_rows >= max_running). Every running request that is not parked progresses: prefill
  // is served in order of admission, and at least one row or tower step is planned when any is due.
  void Plan(const std::vector<std::unique_ptr<ActiveRequest>>& running, StepPlan* plan) const;

 private:
  void PlanPrompt(ActiveRequest* request, int32_t* budget, StepPlan* plan) const;

  const SchedulerOptions options_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SCHEDULER_H_
