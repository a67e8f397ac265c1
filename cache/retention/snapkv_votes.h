// What SnapKV and PyramidKV share: the window of last queries that votes, and how votes select.
#ifndef PREFIXD_CACHE_RETENTION_SNAPKV_VOTES_H_
#define PREFIXD_CACHE_RETENTION_SNAPKV_VOTES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace prefixd {

inline constexpr int32_t kSnapKvWindow = 64;

// The number kept when `wanted` are: not fewer than the window and `protect`, not more than all.
int32_t SnapKvKept(int32_t wanted, int32_t protect, int32_t num_tokens);

// The last max(kSnapKvWindow, protect) positions, and before them the most voted for: `kept` in
// all, a number of SnapKvKept. votes[k]: attention of the window's queries. A token's vote is the
// mean over the five tokens around it, of those before the window; what lies outside counts as 0.
std::vector<int32_t> KeepMostVoted(absl::Span<const float> votes, int32_t protect, int32_t kept);

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_SNAPKV_VOTES_H_
