// StepLoop: from sampled tokens to events.
#include "engine/step_loop.h"

#include <algorithm>

#include "base/error.h"
#include "base/planted_bug.h"
#include "engine/error_reasons.h"
#include "engine/step_loop_internal.h"

namespace prefixd {
namespace {

bool Contains(absl::Span<const int32_t> ids, int32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

void StepLoop::Absorb(SampledToken* sampled) {
  ActiveRequest* const request = sampled->request;
  Sequence* const sequence = sampled->sequence;
  if (request->ended) return;
  if (sampled->token < 0) {
    Fail(request, MakeError(absl::StatusCode::kInternal, reason::kEngineFailed,
                            "the model's logits are not finite"));
    return;
  }
  const absl::Time now = clock_->Now();
  if (request->first_token == absl::Time()) {
    request->first_token = now;
    histograms_.time_to_first_token_seconds.Observe(
        absl::ToDoubleSeconds(now - request->submitted));
  }
  if (request->beams) {
    AbsorbBeam(sampled);
    return;
  }
  if (sequence->last_token != absl::Time()) {
    histograms_.inter_token_seconds.Observe(absl::ToDoubleSeconds(now - sequence->last_token));
  }
  sequence->last_token = now;
  const bool sent_before =
      sequence->was_sent(sequence->generated.size()) && !PREFIXD_PLANTED(kReplaySends);
  sequence->generated.push_back(sampled->token);
  sequence->tokens.push_back(sampled->token);
  if (request->request.recompute_all) Retire(sequence);  // All of it is computed again.
  // Where the next draw is out already, the next row takes what that yields.
  if (sequence->draws_out == 0) sequence->next_input = {.token = sampled->token};
  if (sent_before) return;
  ++generated_tokens_;
  ++tenant_totals_[request->tenant].generated_tokens;
  if (UsesPenalties(request->request.sampling) && !PREFIXD_PLANTED(kPenaltyForgetsGenerated)) {
    sequence->counts.AddGenerated(sampled->token);
  }

  const StoppingParams& stopping = request->request.stopping;
  std::optional<FinishReason> finish;
  std::string text;
  if (!stopping.ignore_eos && Contains(model_->spec().generation.eos_token_ids, sampled->token)) {
    finish = FinishReason::kEos;
  } else if (Contains(stopping.stop_token_ids, sampled->token)) {
    finish = FinishReason::kStopToken;
  } else {
    text = sequence->streamer.Push(sampled->token);
    const bool full = static_cast<int32_t>(sequence->generated.size()) >= request->max_new_tokens;
    if (!sequence->streamer.matched_stop().empty()) {
      finish = FinishReason::kStopString;
    } else if (full) {
      finish = request->capped_by_context ? FinishReason::kContextLength : FinishReason::kMaxTokens;
    }
  }
  if (finish && *finish != FinishReason::kStopString) {
    text += sequence->streamer.Finish();
    // What was held back may have completed a stop string.
    if (!sequence->streamer.matched_stop().empty()) finish = FinishReason::kStopString;
  }
  EmitToken(*sampled, std::move(text));
  if (finish) FinishChoice(request, sequence, *finish);
}

void StepLoop::EmitToken(const SampledToken& sampled, std::string text) {
  const OutputParams& output = sampled.request->request.output;
  DeltaEvent delta{.choice = sampled.sequence->choice, .text = std::move(text)};
  if (output.token_ids) delta.token_ids.push_back(sampled.token);
  if (sampled.logprobs) {
    LogprobEntry entry = *sampled.logprobs;
    entry.sampled.token = tokenizer_->TokenBytes(entry.sampled.token_id);
    for (TokenLogprob& top : entry.top) top.token = tokenizer_->TokenBytes(top.token_id);
    delta.logprobs.push_back(std::move(entry));
  }
  if (delta.text.empty() && delta.token_ids.empty() && delta.logprobs.empty()) return;
  sampled.request->sink->OnEvent(std::move(delta));
}

}  // namespace prefixd
