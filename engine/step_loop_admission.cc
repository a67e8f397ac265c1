// StepLoop: who starts, and who is preempted.
#include "engine/step_loop.h"

#include <algorithm>

#include "base/planted_bug.h"
#include "engine/step_loop_internal.h"

namespace prefixd {

// The tenant that had least for its weight goes first; within it priority, then arrival.
void StepLoop::AdmitWaiting() {
  std::vector<bool> blocked(options_.tenants.size());
  for (const auto& request : waiting_) {
    if (!PREFIXD_PLANTED(kWaiterNeverRetries)) request->column_waits = false;
  }
  int examined = 0;
  while (ActiveRequest* const request = NextCandidate(blocked)) {
    // Those that wait for another's column are passed over; only so many are asked.
    if (++examined > 4 * options_.max_running) return;
    if (!Admit(request, &blocked)) return;
  }
}

ActiveRequest* StepLoop::NextCandidate(const std::vector<bool>& blocked) const {
  ActiveRequest* next = nullptr;
  for (const auto& request : waiting_) {
    if (request->ended || request->parked || request->column_waits || blocked[request->tenant]) {
      continue;
    }
    if (next == nullptr ||
        (request->tenant != next->tenant && shares_.Before(request->tenant, next->tenant))) {
      next = request.get();
    }
  }
  return next;
}

// Returns false if nobody behind it may start either.
bool StepLoop::Admit(ActiveRequest* request, std::vector<bool>* blocked) {
  if (!sharing_.Begin(request)) {
    request->column_waits = true;
    return true;
  }
  Scheduler::Start start = scheduler_.CanStart(*request, running_);
  while (start != Scheduler::Start::kYes) {
    ActiveRequest* const victim = scheduler_.VictimToStart(*request, start, running_);
    if (victim == nullptr) break;
    Preempt(victim);
    start = scheduler_.CanStart(*request, running_);
  }
  if (start == Scheduler::Start::kYes) {
    Start(request);
    return true;
  }
  sharing_.Abandon(request);
  if (running_.empty() && retired_.empty()) {
    // A prefix that was pinned meanwhile took its room for good.
    const absl::Status status = CheckFits(*request);
    Fail(request, status.ok() ? PoolPinned() : status);
    return true;
  }
  if (start != Scheduler::Start::kTenantFull) return false;
  (*blocked)[request->tenant] = true;
  return true;
}

void StepLoop::Start(ActiveRequest* request) {
  request->phase = ActiveRequest::Phase::kPrefill;
  request->last_prefill = steps_;  // Its patience begins now.
  request->tokens_at_start = request->num_tokens();
  const auto at = std::find_if(waiting_.begin(), waiting_.end(),
                               [request](const auto& other) { return other.get() == request; });
  running_.push_back(std::move(*at));
  waiting_.erase(at);
  NoteSnapshot(request);
  sharing_.Update(request);
  if (request->scoring) TakeYields(request);
  request->most_pages = std::max(request->most_pages, static_cast<int32_t>(HeldPages(*request)));
  if (!request->started) Announce(request);
}

void StepLoop::Announce(ActiveRequest* request) {
  request->started = true;
  request->receipt.shared_kv_bytes =
      static_cast<uint64_t>(HeldPages(*request)) * options_.page_bytes;
  request->scheduled = clock_->Now();
  histograms_.queue_seconds.Observe(absl::ToDoubleSeconds(request->scheduled - request->submitted));
  listener_.on_scheduled(*request);
  request->sink->OnEvent(StartedEvent{.request_id = request->request.id,
                                      .model = options_.model_name,
                                      .prompt_tokens = request->prompt_rows(),
                                      .cached_prompt_tokens = request->receipt.hit_tokens,
                                      .image_tokens = request->prompt.num_image_tokens(),
                                      .seed = request->seed,
                                      .max_tokens = request->max_new_tokens});
}

// The request gives all its KV back and waits for its turn again; what it generated is computed
// again then (docs/decisions.md, rule 12).
void StepLoop::Preempt(ActiveRequest* request) {
  preempted_pages_ += static_cast<uint64_t>(OwnPages(cache_, *request));
  for (const auto& choice : request->choices) {
    if (PREFIXD_PLANTED(kResumeSendsAgain) && !choice->finished) {
      choice->generated.clear();
      choice->tokens = request->prompt.token_ids;
    }
    if (PREFIXD_PLANTED(kResumeForgetsPenalties)) choice->counts = TokenCounter();
    Retire(choice.get());
  }
  if (request->retention.on()) RewindUnderBudget(request);
  if (request->scoring) request->scoring->Rewind();
  if (request->beams) {
    for (auto& candidates : request->beams->candidates) candidates.clear();
  }
  for (ImageProgress& image : request->images) image.features = nullptr;
  request->DropEncoding();
  request->phase = ActiveRequest::Phase::kWaiting;
  request->parked = false;
  ++request->receipt.preemptions;
  ++preemptions_;
  if (request->prompt.root_key && request->choices.size() == 1 && !request->retention.on()) {
    const int32_t full = static_cast<int32_t>(request->first().tokens.size()) / kSlotsPerPage;
    while (static_cast<int32_t>(request->keys.size()) < full) {
      const ContentKey& parent =
          request->keys.empty() ? *request->prompt.root_key : request->keys.back();
      request->keys.push_back(
          ColumnKey(parent, request->tokens(), static_cast<int32_t>(request->keys.size())));
    }
  }
  const auto at = std::find_if(running_.begin(), running_.end(),
                               [request](const auto& other) { return other.get() == request; });
  std::unique_ptr<ActiveRequest> owned = std::move(*at);
  running_.erase(at);
  waiting_.insert(std::upper_bound(waiting_.begin(), waiting_.end(), owned, WaitsBefore),
                  std::move(owned));
  FreeRetired();
  cache_.BeginRound(LiveSequences());
}

}  // namespace prefixd
