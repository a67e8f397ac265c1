// Counts and position lists that several policies share. Pure; safe from any thread.
#ifndef PREFIXD_CACHE_RETENTION_SELECTION_H_
#define PREFIXD_CACHE_RETENTION_SELECTION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "cache/retention/recipe.h"

namespace prefixd {

// What every layer forgets under one count for all, as ElasticCache computes it:
// trunc(n - n * (1 - forget_ratio)), but the protected tokens stay.
int32_t UniformForget(const RetentionRecipe& recipe, int32_t num_tokens);

// What every layer keeps under one count for all, as kvpress computes it:
// max(1, trunc(n * (1 - forget_ratio))).
int32_t UniformKept(const RetentionRecipe& recipe, int32_t num_tokens);

// 0, 1, ..., num_tokens - 1.
std::vector<int32_t> AllPositions(int32_t num_tokens);

// The first `head` positions, the last `tail` ones, and what KeepHighest leaves of those between:
// ascending. Requires: head, tail, forget >= 0 and head + tail + forget <= scores.size().
std::vector<int32_t> KeepEndsAndHighest(absl::Span<const float> scores, int32_t head, int32_t tail,
                                        int32_t forget);

// The first `head` positions and the last `tail` ones of num_tokens; all where the two meet.
std::vector<int32_t> KeepEnds(int32_t num_tokens, int32_t head, int32_t tail);

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_SELECTION_H_
