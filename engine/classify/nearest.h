// The demonstrations whose pictures are most like a query's (RICES: Yang et al., arXiv:2109.05014;
// used by Flamingo and OpenFlamingo). Exact: every one is compared. Immutable; safe from any
// thread.
#ifndef PREFIXD_ENGINE_CLASSIFY_NEAREST_H_
#define PREFIXD_ENGINE_CLASSIFY_NEAREST_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace prefixd {

class NearestDemonstrations {
 public:
  // Of no demonstrations.
  NearestDemonstrations() = default;
  // vectors: [demonstrations][dim], all of one length above 0, finite. They are copied.
  explicit NearestDemonstrations(absl::Span<const std::vector<float>> vectors);

  int32_t size() const { return static_cast<int32_t>(norms_.size()); }
  size_t dim() const { return dim_; }

  // Indices of the `k` demonstrations (all, if there are fewer) with the largest cosine to `query`,
  // the most similar last. Of equal ones the lower index is the more similar. Sums run in double,
  // in order of the dimensions; a vector of zeros has the cosine 0 to all. Requires: query.size()
  // == dim(), finite; k >= 0.
  std::vector<int32_t> MostSimilar(absl::Span<const float> query, int32_t k) const;

 private:
  size_t dim_ = 0;
  std::vector<float> vectors_;  // [demonstrations][dim].
  std::vector<double> norms_;   // Euclidean lengths; 1 for zeros.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_NEAREST_H_
