// PrefixKV's per-layer counts from the scores of one prompt, without a search (docs/decisions.md,
// rule 16): equal to the published count function at every threshold, exact in total, monotone in
// the ratio. Pure; safe from any thread.
#ifndef PREFIXD_CACHE_RETENTION_ONLINE_COUNTS_H_
#define PREFIXD_CACHE_RETENTION_ONLINE_COUNTS_H_

#include <cstdint>
#include <vector>

#include "cache/retention/policy.h"

namespace prefixd {

// The number of tokens that each layer forgets; the sum is
// min(RoundHalfEven(L * n * forget_ratio), L * max(0, n - 1 - num_protected)).
// Scores are finite and >= 0. num_protected >= 1: tokens that no layer forgets.
std::vector<int32_t> OnlineForgetCounts(const PromptScores& prompt, double forget_ratio,
                                        int32_t num_protected);

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_ONLINE_COUNTS_H_
