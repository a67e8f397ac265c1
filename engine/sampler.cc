#include "engine/sampler.h"

#include "base/check.h"

namespace prefixd {

CountedToken& TokenCounter::Find(int32_t id) {
  PREFIXD_CHECK(id >= 0);
  if (static_cast<size_t>(id) >= index_.size()) index_.resize(static_cast<size_t>(id) + 1, 0);
  int32_t& index = index_[id];
  if (index == 0) {
    entries_.push_back({.id = id});
    index = static_cast<int32_t>(entries_.size());
  }
  return entries_[index - 1];
}

void TokenCounter::AddPrompt(absl::Span<const int32_t> ids) {
  for (const int32_t id : ids) Find(id);
}

void TokenCounter::AddGenerated(int32_t id) { ++Find(id).generated; }

TokenDraw DrawOf(const SampleRow& row) {
  const SamplingParams& params = *row.params;
  TokenDraw draw{.params = {.temperature = params.temperature,
                            .top_k = params.top_k,
                            .top_p = params.top_p,
                            .min_p = params.min_p,
                            .repetition_penalty = params.repetition_penalty,
                            .presence_penalty = params.presence_penalty,
                            .frequency_penalty = params.frequency_penalty,
                            .seed = row.seed,
                            .step = row.step,
                            .choice = row.choice},
                 .logit_bias = params.logit_bias,
                 .suppressed = row.suppressed};
  if (row.counts != nullptr) draw.counts = row.counts->entries();
  return draw;
}

LogprobEntry LogprobsOf(const DrawnToken& drawn) {
  const auto convert = [](const RankedToken& token) {
    return TokenLogprob{.token_id = token.id, .logprob = token.logprob, .rank = token.rank};
  };
  LogprobEntry entry{.sampled = convert(drawn.sampled)};
  for (const RankedToken& token : drawn.top) entry.top.push_back(convert(token));
  return entry;
}

}  // namespace prefixd
