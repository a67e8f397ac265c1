// From log-probs of tokens to a ranking of candidates. Pure functions; safe from any thread.
#ifndef PREFIXD_ENGINE_CLASSIFY_RANKING_H_
#define PREFIXD_ENGINE_CLASSIFY_RANKING_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/classification.h"
#include "engine/classify/token_trie.h"
#include "engine/classify/top_search.h"

namespace prefixd {

// Sum over the path from the root to each candidate's end, from the root down, in double; NaN where
// a part was left out. logprobs: by node.
std::vector<double> PathSums(const TokenTrie& trie, absl::Span<const float> logprobs);

// What makes scores of sums: offsets are the sums under the null context (kPmi only), divisors the
// lengths: tokens (kMean, without the end token), bytes of the name (kChars), else 1.
TopSearch ScaleOf(Normalization normalization, absl::Span<const int32_t> num_tokens,
                  absl::Span<const int32_t> num_bytes, absl::Span<const double> null_sums);

// (sums[k] - offsets[k]) / divisors[k].
std::vector<double> ScoresOf(absl::Span<const double> sums, const TopSearch& scale);

// exp(scores[k] / temperature) over their sum; shifted by the largest, so nothing overflows. They
// add up to 1 within 1e-12. Requires: temperature > 0, scores finite, at least one.
std::vector<double> ClassProbabilities(absl::Span<const double> scores, double temperature);

// Indices of the `k` best scores (all, if there are fewer), best first; ties go to the lower index;
// NaN (left out) never.
std::vector<int32_t> BestOf(absl::Span<const double> scores, int32_t k);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_RANKING_H_
