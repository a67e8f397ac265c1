// StepLoop: running ahead of a device. While nothing happens but that requests decode on, the next
// step is launched before the tokens of the one in flight are taken, so that the device never waits
// for the host. Its rows feed tokens that only the device knows; what was computed for a sequence
// that has ended meanwhile is forgotten (docs/decisions.md, rule 22).
#include <algorithm>
#include <utility>

#include "engine/step_loop.h"
#include "engine/step_loop_internal.h"

namespace prefixd {
namespace {

bool MustEnd(const ActiveRequest& request, absl::Time now) {
  const auto& soft_limit = request.request.stopping.soft_time_limit;
  return request.handle->stop.load() != StopCause::kNone || now >= request.request.deadline ||
         (soft_limit && now >= request.submitted + *soft_limit);
}

}  // namespace

bool StepLoop::CanRunAhead() const {
  if (!calm_ || runner_->in_flight() < 2) return false;
  const absl::Time now = clock_->Now();
  return std::all_of(running_.begin(), running_.end(),
                     [&](const auto& request) { return DecodesOn(*request, now); }) &&
         std::none_of(waiting_.begin(), waiting_.end(), [&](const auto& request) {
           return MustEnd(*request, now) || (request->parked && request->sink->Writable());
         });
}

bool StepLoop::DecodesOn(const ActiveRequest& request, absl::Time now) const {
  if (MustEnd(request, now) || request.parked == request.sink->Writable()) return false;
  if (request.parked) return true;
  if (request.phase != ActiveRequest::Phase::kDecode) return false;
  if (UsesPenalties(request.request.sampling)) return false;  // They count the last token.
  if (request.beams) return false;
  // Scores are cleared, and victims chosen, on the host.
  return std::all_of(request.choices.begin(), request.choices.end(), [](const auto& choice) {
    return choice->finished || (choice->scores.empty() && choice->pending_rows() == 1);
  });
}

bool StepLoop::PlanAhead() {
  if (!CanRunAhead()) return false;
  BeginRound();
  const Scheduler::Outcome outcome = scheduler_.Plan(running_, steps_ + 1, &next_plan_);
  return outcome.lacks == nullptr && !next_plan_.decodes.empty() &&
         next_plan_.num_prompt_pieces() == 0;
}

void StepLoop::ContinueInFlight() {
  const absl::Time begin = clock_->Now();
  const bool ahead = PlanAhead();
  absl::Status launched;
  if (ahead) {
    ChargeTenants(next_plan_);
    launched = runner_->Launch(next_plan_, &result_);
    ++steps_;
  }
  const bool taken = TakeTokens().ok();
  if (taken) ObserveStep(clock_->Now() - begin);
  if (ahead && failure_.ok()) {
    // Of what was launched, only those that go on count.
    std::erase_if(next_plan_.decodes, [](const DecodeRow& decode) {
      return decode.request->ended || decode.sequence->finished;
    });
    std::swap(plan_, next_plan_);
    if (launched.ok()) {
      AfterForward();
    } else {
      std::vector<ActiveRequest*> requests;
      for (const DecodeRow& decode : plan_.decodes) requests.push_back(decode.request);
      FailStep(launched, requests);
    }
  }
  Sweep();
}

}  // namespace prefixd
