#include "engine/scheduler.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {
namespace {

// The first row that cannot be computed yet because its image is not encoded.
int32_t FirstBlockedRow(const ActiveRequest& request) {
  if (request.next_image == request.prompt.images.size()) return request.prompt_rows();
  return request.prompt.images[request.next_image].row_begin;
}

}  // namespace

void StepPlan::Clear() {
  decodes.clear();
  prefills.clear();
  images.clear();
}

std::vector<ActiveRequest*> Scheduler::Admit(
    const std::vector<std::unique_ptr<ActiveRequest>>& running,
    const std::vector<std::unique_ptr<ActiveRequest>>& waiting) const {
  int64_t free_pages = options_.num_pages;
  int64_t free_choices = options_.max_running;
  for (const auto& request : running) {
    free_pages -= request->reserved_pages;
    free_choices -= PREFIXD_PLANTED(kRunningLimitIgnored) ? 1 : request->request.output.num_choices;
  }
  std::vector<ActiveRequest*> admitted;
  for (const auto& request : waiting) {
    free_pages -= request->reserved_pages;
    free_choices -= request->request.output.num_choices;
    if (free_pages < 0 || free_choices < 0) break;
    admitted.push_back(request.get());
  }
  return admitted;
}

void Scheduler::Plan(const std::vector<std::unique_ptr<ActiveRequest>>& running,
                     StepPlan* plan) const {
  plan->Clear();
  int32_t budget = options_.max_batch_rows;
  for (const auto& request : running) {
    const bool parked = request->parked && !PREFIXD_PLANTED(kParkedIsComputed);
    if (request->phase != ActiveRequest::Phase::kDecode || parked) continue;
    for (const auto& sequence : request->choices) {
      if (sequence->finished) continue;
      plan->decodes.push_back({request.get(), sequence.get()});
      --budget;
    }
  }
  PREFIXD_CHECK(budget >= 0);
  for (const auto& request : running) {
    if (request->phase != ActiveRequest::Phase::kPrefill || request->parked) continue;
    PlanPrompt(request.get(), &budget, plan);
    if (budget <= 0) break;
  }
}

// Rows up to the next image that is not encoded; where that leaves none, steps of its tower. A
// tower step larger than a whole budget still runs, as the only prompt work of its step.
void Scheduler::PlanPrompt(ActiveRequest* request, int32_t* budget, StepPlan* plan) const {
  const int32_t ready = FirstBlockedRow(*request) - request->computed_rows;
  if (ready > 0) {
    // With decodes filling the whole budget, prefill still moves by one row.
    const bool first = plan->prefills.empty() && plan->images.empty();
    const int32_t limit = std::max(*budget, first ? 1 : 0);
    const int32_t num_rows = std::min({ready, limit, options_.max_prefill_rows});
    if (num_rows <= 0) return;
    const bool last = request->computed_rows + num_rows == request->prompt_rows();
    plan->prefills.push_back({request, num_rows, last});
    *budget -= num_rows;
    return;
  }
  // An encoding that is not begun costs about the rows that the image will occupy.
  const ImageEncoding* encoding = request->encoding.get();
  const int32_t rows_per_step =
      std::max(1, encoding != nullptr ? encoding->rows_per_step()
                                      : request->prompt.images[request->next_image].num_rows);
  const int32_t steps_left = encoding != nullptr ? encoding->steps_left() : 1;
  const bool first = plan->prefills.empty() && plan->images.empty();
  const int32_t num_steps = std::min(steps_left, std::max(*budget / rows_per_step, first ? 1 : 0));
  if (num_steps <= 0) return;
  plan->images.push_back({request, num_steps});
  *budget -= num_steps * rows_per_step;
}

}  // namespace prefixd
