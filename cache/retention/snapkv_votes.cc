#include "cache/retention/snapkv_votes.h"

#include <algorithm>
#include <cstddef>

#include "cache/retention/selection.h"

namespace prefixd {
namespace {

constexpr size_t kReach = 2;  // Neighbours on each side: a kernel of five.

std::vector<float> Pooled(absl::Span<const float> votes) {
  std::vector<float> pooled(votes.size());
  for (size_t k = 0; k < votes.size(); ++k) {
    double sum = 0;
    const size_t end = std::min(votes.size(), k + kReach + 1);
    for (size_t i = k - std::min(k, kReach); i < end; ++i) sum += votes[i];
    pooled[k] = static_cast<float>(sum / (2 * kReach + 1));
  }
  return pooled;
}

}  // namespace

int32_t SnapKvKept(int32_t wanted, int32_t protect, int32_t num_tokens) {
  return std::min(num_tokens, std::max({wanted, kSnapKvWindow, protect}));
}

std::vector<int32_t> KeepMostVoted(absl::Span<const float> votes, int32_t protect, int32_t kept) {
  const auto num_tokens = static_cast<int32_t>(votes.size());
  if (kept >= num_tokens) return AllPositions(num_tokens);
  std::vector<float> scores = Pooled(votes.first(votes.size() - kSnapKvWindow));
  scores.resize(votes.size());  // The window, which the tail below keeps.
  return KeepEndsAndHighest(scores, 0, std::max(kSnapKvWindow, protect), num_tokens - kept);
}

}  // namespace prefixd
