// From one row of logits to a token (docs/decisions.md, rule 6; order of steps as in the Hugging
// Face processors). Pure functions; the draw depends on (seed, step, choice) and the logits alone.
#ifndef PREFIXD_ENGINE_SAMPLER_H_
#define PREFIXD_ENGINE_SAMPLER_H_

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "engine/request.h"

namespace prefixd {

// Philox4x32-10. key = seed, counter = (c0, c1, c2, c3). Source: Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC 2011.
std::array<uint32_t, 4> Philox4x32(uint64_t key, const std::array<uint32_t, 4>& counter);

// How often each token occurred; what the penalties read. Sparse, engine thread only.
class TokenCounter {
 public:
  void AddPrompt(absl::Span<const int32_t> ids);
  void AddGenerated(int32_t id);

  struct Entry {
    int32_t id = 0;
    int32_t generated = 0;  // 0: in the prompt only.
  };
  // One entry for each distinct id, in order of first occurrence.
  absl::Span<const Entry> entries() const { return entries_; }

 private:
  Entry& Find(int32_t id);

  std::vector<Entry> entries_;
  std::vector<int32_t> index_;  // By token id: 1 + index into entries_, or 0.
};

// Everything about one draw except the logits.
struct SampleRow {
  const SamplingParams* params = nullptr;
  uint64_t seed = 0;
  uint32_t step = 0;  // Number of tokens generated before this one.
  uint32_t choice = 0;
  const TokenCounter* counts = nullptr;  // Null: no penalties.
  absl::Span<const int32_t> suppressed;  // Never drawn (stop ids before min_tokens, the
                                         // image placeholder).
};

// Working memory of Sample; one per thread, reused so that a draw allocates nothing.
struct SampleScratch {
  using Candidate = std::pair<float, int32_t>;  // Logit divided by the temperature, token id.

  std::vector<float> logits;
  std::vector<Candidate> candidates;  // By ascending id.
  std::vector<double> weights;        // exp(logit - largest logit) of each candidate.
  std::vector<Candidate> ranked;      // What top-k and top-p order by likelihood.
};

// Returns the sampled token id. `logits`: [vocab], raw. Greedy ties go to the lowest id.
// Returns -1 if a logit is NaN or no token is left (the row failed).
int32_t Sample(absl::Span<const float> logits, const SampleRow& row, SampleScratch* scratch);

// Log-probabilities of the raw logits: `token_id`'s entry (token bytes are left empty) and the
// `top_n` most likely tokens, best first, ties to the lowest id. Sums in double, in id order.
LogprobEntry Logprobs(absl::Span<const float> logits, int32_t token_id, int top_n);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_SAMPLER_H_
