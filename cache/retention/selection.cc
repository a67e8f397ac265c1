#include "cache/retention/selection.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>

#include "base/check.h"
#include "cache/retention/policy.h"

namespace prefixd {

int64_t RoundHalfEven(double x) {
  const double below = std::floor(x);
  const double rest = x - below;  // Exact.
  const auto whole = static_cast<int64_t>(below);
  if (rest == 0.5) return whole + (whole & 1);
  return rest > 0.5 ? whole + 1 : whole;
}

std::vector<int32_t> KeepHighest(absl::Span<const float> scores, int32_t begin, int32_t end,
                                 int32_t forget) {
  PREFIXD_CHECK(begin >= 0 && begin <= end && static_cast<size_t>(end) <= scores.size());
  PREFIXD_CHECK(forget >= 0 && forget <= end - begin);
  std::vector<int32_t> kept;
  kept.reserve(static_cast<size_t>(end - begin - forget));
  // The highest score that is dropped; below it all are, and of its equals the first few.
  float bar = 0;
  int32_t equals_to_drop = 0;
  if (forget > 0) {
    std::vector<float> order(scores.begin() + begin, scores.begin() + end);
    std::nth_element(order.begin(), order.begin() + (forget - 1), order.end());
    bar = order[static_cast<size_t>(forget - 1)];
    equals_to_drop =
        forget - static_cast<int32_t>(std::count_if(order.begin(), order.begin() + forget,
                                                    [bar](float score) { return score < bar; }));
  }
  for (int32_t position = begin; position < end; ++position) {
    const float score = scores[static_cast<size_t>(position)];
    if (forget > 0 && score < bar) continue;
    if (equals_to_drop > 0 && score == bar) {
      --equals_to_drop;
      continue;
    }
    kept.push_back(position);
  }
  return kept;
}

double ScoreMass(absl::Span<const float> scores, absl::Span<const int32_t> kept) {
  const double all = std::accumulate(scores.begin(), scores.end(), 0.0);
  if (all <= 0) return 1;
  double mass = 0;
  for (const int32_t position : kept) mass += scores[static_cast<size_t>(position)];
  return mass / all;
}

int32_t UniformForget(const RetentionRecipe& recipe, int32_t num_tokens) {
  return std::min(DropsDue(num_tokens, num_tokens, recipe.forget_ratio()),
                  std::max(0, num_tokens - recipe.num_protected()));
}

int32_t UniformKept(const RetentionRecipe& recipe, int32_t num_tokens) {
  return std::max(1, static_cast<int32_t>(num_tokens * (1.0 - recipe.forget_ratio())));
}

std::vector<int32_t> AllPositions(int32_t num_tokens) {
  std::vector<int32_t> positions(static_cast<size_t>(num_tokens));
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

std::vector<int32_t> KeepEndsAndHighest(absl::Span<const float> scores, int32_t head, int32_t tail,
                                        int32_t forget) {
  const auto num_tokens = static_cast<int32_t>(scores.size());
  std::vector<int32_t> kept = AllPositions(head);
  const std::vector<int32_t> between = KeepHighest(scores, head, num_tokens - tail, forget);
  kept.insert(kept.end(), between.begin(), between.end());
  for (int32_t position = num_tokens - tail; position < num_tokens; ++position) {
    kept.push_back(position);
  }
  return kept;
}

std::vector<int32_t> KeepEnds(int32_t num_tokens, int32_t head, int32_t tail) {
  if (head >= num_tokens - tail) return AllPositions(num_tokens);
  std::vector<int32_t> kept = AllPositions(head);
  for (int32_t position = num_tokens - tail; position < num_tokens; ++position) {
    kept.push_back(position);
  }
  return kept;
}

}  // namespace prefixd
