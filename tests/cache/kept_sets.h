// Kept sets for tests of the cache, which does not care how they were chosen.
#ifndef PREFIXD_TESTS_CACHE_KEPT_SETS_H_
#define PREFIXD_TESTS_CACHE_KEPT_SETS_H_

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <random>
#include <vector>

namespace prefixd::testing {

// `count` of the positions 0..num_tokens-1, ascending; the last is among them.
// Requires: 1 <= count <= num_tokens.
template <typename Random>
std::vector<int32_t> RandomKept(int32_t num_tokens, int32_t count, Random* random) {
  std::vector<int32_t> positions(num_tokens - 1);
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<int32_t> kept;
  std::sample(positions.begin(), positions.end(), std::back_inserter(kept), count - 1, *random);
  kept.push_back(num_tokens - 1);
  return kept;
}

// The index at which the published code removes entries from a layer that kept `kept`: 25 before
// the end, or the middle where that is less than 1.
inline int32_t PublishedIndex(int32_t kept) { return kept - 25 >= 1 ? kept - 25 : kept / 2; }

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CACHE_KEPT_SETS_H_
