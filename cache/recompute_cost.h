// What computing a column again costs, in rows of a prompt. Pure; safe from any thread.
#ifndef PREFIXD_CACHE_RECOMPUTE_COST_H_
#define PREFIXD_CACHE_RECOMPUTE_COST_H_

#include <algorithm>
#include <cstdint>

#include "cache/content.h"
#include "cache/page_pool.h"

namespace prefixd {

// An image's rows cost its tower too, and attention grows with the depth.
inline uint32_t RecomputeCost(TokenView tokens, int32_t column) {
  constexpr int32_t kDepthOfOneRow = 1024;
  const int32_t begin = column * kSlotsPerPage;
  int32_t cost = kSlotsPerPage + kSlotsPerPage * begin / kDepthOfOneRow;
  for (const MediaRun& run : tokens.media) {
    const int32_t from = std::max(begin, run.row_begin);
    const int32_t to = std::min(begin + kSlotsPerPage, run.row_end());
    if (from < to) cost += to - from;
  }
  return static_cast<uint32_t>(cost);
}

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RECOMPUTE_COST_H_
