// What a search for the best candidates needs to know of how they are ranked: the score of
// candidate k is (sum of its tokens' log-probs - offsets[k]) / divisors[k]. Sums only fall as
// tokens are added, so the score of a part bounds that of the whole. Immutable.
#ifndef PREFIXD_ENGINE_CLASSIFY_TOP_SEARCH_H_
#define PREFIXD_ENGINE_CLASSIFY_TOP_SEARCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace prefixd {

struct TopSearch {
  int32_t k = 1;                 // How many are wanted; ties go to the lower index.
  std::vector<double> offsets;   // [candidates]; empty: all 0.
  std::vector<double> divisors;  // [candidates], each > 0; empty: all 1.

  // The score of a candidate with this sum. The same expression wherever scores are compared.
  double ScoreOf(size_t candidate, double sum) const {
    return (sum - (offsets.empty() ? 0.0 : offsets[candidate])) /
           (divisors.empty() ? 1.0 : divisors[candidate]);
  }
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_TOP_SEARCH_H_
