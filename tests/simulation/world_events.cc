// What the core tells its clients, compared with the oracle as it comes.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "tests/simulation/world.h"

namespace prefixd::simulation {
namespace {

absl::string_view ReasonName(FinishReason reason) {
  static constexpr absl::string_view kNames[] = {"eos",        "stop string", "stop token",
                                                 "max tokens", "context",     "time limit"};
  return kNames[static_cast<size_t>(reason)];
}

Mark MarkOf(FinishReason reason) {
  switch (reason) {
    case FinishReason::kEos:
      return Mark::kEndOfSequence;
    case FinishReason::kStopString:
      return Mark::kStopString;
    case FinishReason::kStopToken:
      return Mark::kStopToken;
    case FinishReason::kContextLength:
      return Mark::kContextFull;
    case FinishReason::kMaxTokens:
    case FinishReason::kTimeLimit:
      break;
  }
  return Mark::kFinished;
}

}  // namespace

// Whoever starts, starts before all of its tenant that are of lower priority, and before all equals
// that came later; those that wait for another are passed over.
void World::OnScheduled(LiveRequest* request) {
  if (request->started) return Fail("I19", *request, "is scheduled twice");
  if (request->ended) return Fail("I19", *request, "is scheduled after its end");
  if (TimePassed(request->soft_limit)) return;  // It starts only to end.
  BeginShares();
  CheckTurn(*request);
  int64_t choices = request->spec.choices, of_tenant = choices;
  for (const auto& [id, other] : requests_) {
    if (other->ended || other.get() == request) continue;
    const bool same_tenant = other->spec.tenant == request->spec.tenant;
    const Core::Look look = core_->LookAt(*other);
    if (!look.waiting && !look.parked) {
      choices += look.unfinished;
      of_tenant += same_tenant ? look.unfinished : 0;
    }
    const int64_t more = other->spec.priority - request->spec.priority;
    const bool before = more > 0 || (more == 0 && other->arrival < request->arrival);
    if (same_tenant && before && look.waiting && !look.parked && !look.column_waits) {
      return Fail("order", *request, absl::StrCat("starts before request ", id));
    }
  }
  if (choices > config_.max_running || of_tenant > MaxChoices(request->spec.tenant)) {
    Fail("I22", *request,
         absl::StrCat("is the one too many: ", choices, " choices run, ", of_tenant,
                      " of its tenant"));
  }
}

void World::OnEnd(LiveRequest* request) {
  if (request->ended) return Fail("I19", *request, "ends twice");
  request->ended = true;
  --num_live_;
  ended_in_step_ = true;
}

void World::OnEvent(LiveRequest* request, Event event) {
  report_->Trace(static_cast<uint64_t>(request->spec.id) << 8 | event.index());
  const bool terminal =
      std::holds_alternative<FinishedEvent>(event) || std::holds_alternative<FailedEvent>(event);
  if (request->ended != terminal || request->told_end) {
    return Fail("I19", *request,
                terminal ? "gets a second terminal event" : "gets an event after its end");
  }
  if (auto* started = std::get_if<StartedEvent>(&event)) return OnStarted(request, *started);
  if (auto* delta = std::get_if<DeltaEvent>(&event)) return OnDelta(request, *delta);
  if (auto* choice = std::get_if<ChoiceFinishedEvent>(&event)) {
    return OnChoiceFinished(request, *choice);
  }
  request->told_end = true;
  if (auto* finished = std::get_if<FinishedEvent>(&event)) return OnFinished(request, *finished);
  OnFailed(request, std::get<FailedEvent>(event).status);
}

void World::OnStarted(LiveRequest* request, const StartedEvent& event) {
  if (request->started) return Fail("I19", *request, "starts twice");
  request->started = true;
  Oracle& oracle = request->oracle;
  CheckPinnedHit(*request, event.cached_prompt_tokens);
  if (oracle.budgeted() && oracle.recipe().policy->needs().prompt) {
    const int32_t indexed = std::min(core_->IndexedRows(*request), oracle.MatchableRows());
    const int32_t columns = event.cached_prompt_tokens / kPageSlots;
    if (columns < indexed / kPageSlots) report_->Reach(Mark::kHitCutToScores);
  }
  if (request->spec.pin != 0) {
    oracle.set_max_new_tokens(event.max_tokens);
  } else if (oracle.max_new_is_open()) {
    if (event.max_tokens < 1 || event.max_tokens > oracle.most_new_tokens()) {
      Fail("usage", *request, absl::StrCat("may generate ", event.max_tokens, " tokens"));
    }
    oracle.set_max_new_tokens(event.max_tokens);
  }
  const auto images = static_cast<int64_t>(oracle.images().size()) * config_.image_rows;
  if (event.max_tokens != oracle.max_new_tokens() || event.prompt_tokens != oracle.prompt_rows() ||
      event.image_tokens != images || event.seed != static_cast<uint64_t>(request->spec.seed) ||
      event.request_id != absl::StrCat(request->spec.id)) {
    Fail("usage", *request, "is told another prompt, cap or seed than its own");
  }
}

void World::OnDelta(LiveRequest* request, const DeltaEvent& event) {
  const int index = event.choice;
  if (!request->started || index < 0 || index >= request->spec.choices || request->spec.pin != 0) {
    return Fail("I19", *request, absl::StrCat("gets a delta of choice ", index));
  }
  LiveRequest::Choice& choice = request->choices[static_cast<size_t>(index)];
  Oracle& oracle = request->oracle;
  if (choice.finished) return Fail("I19", *request, "gets a delta after its choice's end");
  for (const int32_t token : event.token_ids) {
    const int32_t at = choice.tokens++;
    ++generated_;
    ++counted_[static_cast<size_t>(request->spec.tenant)].generated;
    report_->Trace(static_cast<uint64_t>(token));
    if (at > 0 && oracle.EndAfter(index, at - 1)) {
      return Fail("stream", *request, absl::StrCat("choice ", index, " goes on after token ", at));
    }
    if (token != oracle.Token(index, at)) {
      return Fail("stream", *request,
                  absl::StrCat("token ", at, " of choice ", index, " is ", token, ", must be ",
                               oracle.Token(index, at)));
    }
  }
  const int64_t count = request->num_tokens();
  if (count == request->spec.cancel_at) Cancel(request, /*draining=*/false);
  if (count == request->spec.stall_at) Stall(request, request->spec.stall_steps);
  const size_t wanted = request->spec.logprobs > 0 ? event.token_ids.size() : 0;
  if (event.logprobs.size() != wanted) Fail("stream", *request, "log-probs do not match tokens");
  if (event.token_ids.empty() && !event.text.empty()) report_->Reach(Mark::kTimeLimitHeldText);
  choice.text += event.text;
  const std::string text = oracle.Text(index, choice.tokens);
  if (text.compare(0, choice.text.size(), choice.text) != 0) {
    Fail("stream", *request,
         absl::StrCat("text of choice ", index, " is \"", choice.text, "\", must begin \"", text,
                      "\""));
  }
}

void World::OnChoiceFinished(LiveRequest* request, const ChoiceFinishedEvent& event) {
  LiveRequest::Choice& choice = request->choices[static_cast<size_t>(event.choice)];
  Oracle& oracle = request->oracle;
  if (choice.finished) return Fail("I19", *request, "a choice ends twice");
  choice.finished = true;
  std::optional<FinishReason> expected;
  if (choice.tokens > 0) expected = oracle.EndAfter(event.choice, choice.tokens - 1);
  if (event.reason == FinishReason::kTimeLimit) {
    if (expected) Fail("stream", *request, "a choice that was done ends at a time limit");
    if (!TimePassed(request->soft_limit)) Fail("stream", *request, "ends before its time limit");
    report_->Reach(request->computed_rows == 0 ? Mark::kTimeLimitWaiting
                   : choice.tokens == 0        ? Mark::kTimeLimitPrefill
                                               : Mark::kTimeLimitDecode);
  } else {
    // A cap that the core chose may be named after the context.
    const bool open = oracle.max_new_is_open() && expected == FinishReason::kMaxTokens &&
                      event.reason == FinishReason::kContextLength;
    if (!open && event.reason != expected) {
      Fail("stream", *request,
           absl::StrCat("choice ", event.choice, " ends by ", ReasonName(event.reason),
                        " after token ", choice.tokens, ", must ",
                        expected ? absl::StrCat("by ", ReasonName(*expected)) : "go on"));
    }
    report_->Reach(MarkOf(event.reason));
  }
  const std::string text = oracle.Text(event.choice, choice.tokens);
  if (choice.text != text) {
    Fail("stream", *request,
         absl::StrCat("text of choice ", event.choice, " ends as \"", choice.text, "\", must be \"",
                      text, "\""));
  }
}

void World::OnFinished(LiveRequest* request, const FinishedEvent& event) {
  ++finished_;
  report_->Reach(Mark::kFinished);
  int32_t tokens = 0;
  for (const LiveRequest::Choice& choice : request->choices) {
    tokens += choice.tokens;
    if (!choice.finished && request->spec.pin == 0) {
      Fail("I19", *request, "finishes before all of its choices");
    }
  }
  const auto images = static_cast<int64_t>(request->oracle.images().size()) * config_.image_rows;
  if (event.usage.completion_tokens != tokens ||
      event.usage.prompt_tokens != request->oracle.prompt_rows() ||
      event.usage.image_tokens != images) {
    Fail("usage", *request,
         absl::StrCat("is told of ", event.usage.completion_tokens, " tokens, ",
                      event.usage.prompt_tokens, " of prompt; got ", tokens, ", ",
                      request->oracle.prompt_rows()));
  }
  const Timings& timings = event.timings;
  if (timings.queue < absl::ZeroDuration() || timings.prefill < absl::ZeroDuration() ||
      timings.queue + timings.prefill > timings.total || timings.first_token > timings.total ||
      timings.total != clock_.Now() - request->submitted) {
    Fail("usage", *request, "its timings do not add up");
  }
  CheckReceipt(*request, event);
  CheckRetention(request, event);
  if (event.cache.preemptions > 0) report_->Reach(Mark::kPreemptedFinished);
  if (request->spec.pin == 0) return;
  pinned_ever_ = true;
  request->pin_stays = true;
  report_->Reach(Mark::kPinned);
  const int32_t columns = request->oracle.prompt_rows() / kPageSlots;
  if (!core_->IsPinned(*request) || core_->PinnedTokens(*request) != columns * kPageSlots) {
    Fail("pins", *request,
         absl::StrCat("has pinned ", core_->PinnedTokens(*request), " tokens of ",
                      request->oracle.prompt_rows()));
  }
}

// What is pinned in its namespace is there for whoever begins with it.
void World::CheckPinnedHit(const LiveRequest& request, int32_t hit_tokens) {
  if (config_.cache == 0 || request.spec.bypass != 0 || request.spec.pin != 0) return;
  if (TimePassed(request.soft_limit)) return;  // It starts only to end.
  if (request.oracle.budgeted() && request.oracle.recipe().policy->needs().prompt) return;
  for (const auto& [id, pin] : requests_) {
    if (pin->spec.pin == 0 || !core_->IsPinned(*pin)) continue;
    const int32_t pinned = core_->PinnedTokens(*pin) / kPageSlots;
    int32_t same = 0;
    while (same < std::min(pinned, request.oracle.MatchableRows() / kPageSlots) &&
           request.oracle.PromptChain(same * kPageSlots + kPageSlots - 1) ==
               pin->oracle.PromptChain(same * kPageSlots + kPageSlots - 1)) {
      ++same;
    }
    if (same > 0) report_->Reach(Mark::kPinnedHit);
    if (hit_tokens < same * kPageSlots) {
      return Fail("pins", request,
                  absl::StrCat("hits ", hit_tokens, " tokens although ", same * kPageSlots,
                               " are pinned by request ", id));
    }
  }
}

void World::OnFailed(LiveRequest* request, const absl::Status& status) {
  ++failed_;
  const std::optional<ErrorDetail> detail = GetErrorDetail(status);
  const std::string reason = detail ? detail->reason : "";
  const auto expect = [&](bool allowed, absl::string_view what) {
    if (!allowed) Fail("status", *request, absl::StrCat("fails with ", what, " for no reason"));
  };
  if (failing_all_) return;
  if (request == submitting_) return CheckRefusal(*request, reason);
  // Whether it was left waiting by the step that it died in is not seen from outside.
  uncounted_ever_ |= !absl::IsCancelled(status) && !absl::IsDeadlineExceeded(status);
  if (reason == reason::kCancelled) {
    expect(request->cancelled, "CANCELLED");
    if (request->preemptions > 0 && !request->ran_before_step) {
      report_->Reach(Mark::kPreemptedCancelled);
    }
    const bool prefilling = request->started && !request->any_token();
    report_->Reach(!request->started ? Mark::kCancelWaiting
                   : prefilling      ? Mark::kCancelPrefill
                                     : Mark::kCancelDecode);
    if (request->was_parked && request->stalled) report_->Reach(Mark::kCancelParked);
    if (request->encoding) report_->Reach(Mark::kCancelEncoding);
    bool some = false, last = false;
    for (const LiveRequest::Choice& choice : request->choices) {
      some |= choice.finished;
      last |= choice.tokens > 0 && choice.tokens + 1 == request->oracle.max_new_tokens();
    }
    if (some) report_->Reach(Mark::kCancelSomeChoicesDone);
    if (last) report_->Reach(Mark::kCancelLastToken);
  } else if (reason == reason::kDraining) {
    expect(request->drained, "DRAINING");
    report_->Reach(Mark::kDrained);
  } else if (reason == reason::kDeadlineExceeded) {
    expect(TimePassed(request->deadline), "DEADLINE_EXCEEDED");
    report_->Reach(!request->started                         ? Mark::kDeadlineWaiting
                   : request->stalled && request->was_parked ? Mark::kDeadlineParked
                                                             : Mark::kDeadlineRunning);
  } else if (reason == reason::kEngineFailed && request->gather_failed) {
    report_->Reach(Mark::kGatherFailed);
    // A prompt whose selection failed is not complete.
    if (std::count(prompts_in_step_.begin(), prompts_in_step_.end(), request) > 0) {
      prompt_tokens_ -= static_cast<uint64_t>(request->oracle.prompt_rows());
      images_ -= request->oracle.images().size();
    }
  } else if (reason == reason::kEngineFailed) {
    expect(request->must_fail || (backend_.failed() && request->started), "ENGINE_FAILED");
  } else if (request->image_must_fail) {
    if (num_live_ > 0) report_->Reach(Mark::kImageFailed);
  } else if (reason == reason::kTenantQuota && request->spec.pin != 0) {
    report_->Reach(Mark::kPinRefused);
  } else if (reason == reason::kKvCacheFull) {
    expect(pinned_ever_, "KV_CACHE_FULL");
  } else {
    Fail("status", *request, absl::StrCat("fails with ", status.ToString()));
  }
}

// A refusal on arrival says why, and is right.
void World::CheckRefusal(const LiveRequest& request, absl::string_view reason) {
  if (reason == reason::kKvCacheFull) {
    report_->Reach(Mark::kNeverFits);
    if (request.PagesAtMost() <= LonelyPages(request.spec.tenant) && !pinned_ever_) {
      Fail("admission", request, "is refused although it fits into the cache");
    }
  } else if (reason == reason::kParameterOutOfRange) {
    const bool h2o = request.oracle.cannot_share();
    if (!h2o) report_->Reach(Mark::kTooManyChoices);
    if (request.spec.choices <= MaxChoices(request.spec.tenant) && !h2o) {
      Fail("admission", request, "is refused although its choices may run");
    }
  } else if (reason == reason::kFeatureUnsupported) {
    report_->Reach(Mark::kNothingToShare);
    if (!request.oracle.cannot_share()) Fail("admission", request, "has something to share");
  } else if (reason == reason::kDeadlineUnreachable) {
    report_->Reach(Mark::kDeadlineRefused);
    if (request.spec.deadline == 0) Fail("admission", request, "has no deadline to miss");
  } else {
    Fail("admission", request, absl::StrCat("is refused with reason \"", reason, "\""));
  }
}

}  // namespace prefixd::simulation
