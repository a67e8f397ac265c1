// StepLoop: beam search. The choices of such a request are its beams; no events are sent before the
// search is over, when the best hypotheses become the choices that the caller asked for.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/step_loop.h"

namespace prefixd {

// Keeps what a beam could go on with. When all have said so, they go on together: after preemption
// they come one by one.
void StepLoop::AbsorbBeam(SampledToken* sampled) {
  ActiveRequest* const request = sampled->request;
  BeamState& state = *request->beams;
  // The others drew from the prompt's last row too.
  if (state.advanced_in == runner_->completed_steps()) return;
  std::vector<BeamSearch::Candidate>& candidates = state.candidates[sampled->sequence->choice];
  candidates = std::move(sampled->candidates);
  for (size_t i = 0; i < state.search.num_alive(); ++i) {
    if (state.candidates[i].empty()) return;
  }
  AdvanceBeams(request);
}

void StepLoop::AdvanceBeams(ActiveRequest* request) {
  BeamState& state = *request->beams;
  const StoppingParams& stopping = request->request.stopping;
  const std::vector<int32_t>& eos = model_->spec().generation.eos_token_ids;
  const auto ends = [&](int32_t token) {
    const auto contains = [token](const std::vector<int32_t>& ids) {
      return std::find(ids.begin(), ids.end(), token) != ids.end();
    };
    return (!stopping.ignore_eos && contains(eos)) || contains(stopping.stop_token_ids);
  };
  const std::vector<BeamSearch::Continuation> next = state.search.Advance(
      absl::MakeConstSpan(state.candidates).subspan(0, state.search.num_alive()), ends);
  for (auto& candidates : state.candidates) candidates.clear();
  state.advanced_in = runner_->completed_steps();
  if (state.search.over()) {
    FinishBeams(request, /*with_alive=*/false, FinishReason::kMaxTokens);
    return;
  }
  // Each beam takes the KV of the one that it goes on from.
  std::vector<KvSequence> kv;
  std::vector<std::vector<int32_t>> tokens, generated;
  for (const BeamSearch::Continuation& beam : next) {
    const Sequence& parent = *request->choices[beam.parent];
    kv.push_back(cache_.Fork(parent.kv));
    tokens.push_back(parent.tokens);
    generated.push_back(parent.generated);
    tokens.back().push_back(beam.token);
    generated.back().push_back(beam.token);
  }
  PREFIXD_CHECK(kv.size() == request->choices.size());
  for (size_t i = 0; i < kv.size(); ++i) {
    Sequence* const sequence = request->choices[i].get();
    Retire(sequence);
    sequence->kv = std::move(kv[i]);
    sequence->tokens = std::move(tokens[i]);
    sequence->generated = std::move(generated[i]);
    sequence->most_rows = std::max(sequence->most_rows, sequence->kv.next_position());
    sequence->next_input = {.token = next[i].token};
  }
}

// The best hypotheses become the choices. `cut`: why those ended that no token has ended.
void StepLoop::FinishBeams(ActiveRequest* request, bool with_alive, FinishReason cut) {
  const std::vector<BeamSearch::Hypothesis> best = request->beams->search.Best(with_alive);
  const size_t wanted = static_cast<size_t>(request->request.output.num_choices);
  for (const auto& beam : request->choices) Retire(beam.get());
  request->choices.resize(std::min(wanted, best.size()));
  for (size_t i = 0; i < request->choices.size(); ++i) {
    Sequence* const sequence = request->choices[i].get();
    sequence->generated = best[i].tokens;
    sequence->num_sent = best[i].tokens.size();
    generated_tokens_ += best[i].tokens.size();
    tenant_totals_[request->tenant].generated_tokens += best[i].tokens.size();
    DeltaEvent delta{.choice = sequence->choice};
    const size_t spoken = best[i].tokens.size() - (best[i].ended ? 1 : 0);
    for (size_t t = 0; t < spoken; ++t) delta.text += sequence->streamer.Push(best[i].tokens[t]);
    delta.text += sequence->streamer.Finish();
    if (request->request.output.token_ids) delta.token_ids = best[i].tokens;
    if (!delta.text.empty() || !delta.token_ids.empty()) request->sink->OnEvent(std::move(delta));
  }
  for (size_t i = 0; i < request->choices.size(); ++i) {
    FinishReason reason = cut;
    if (best[i].ended) {
      const auto& stop = request->request.stopping.stop_token_ids;
      const bool stopped = std::find(stop.begin(), stop.end(), best[i].tokens.back()) != stop.end();
      reason = stopped ? FinishReason::kStopToken : FinishReason::kEos;
    } else if (cut == FinishReason::kMaxTokens && request->capped_by_context) {
      reason = FinishReason::kContextLength;
    }
    FinishChoice(request, request->choices[i].get(), reason);
  }
}

}  // namespace prefixd
