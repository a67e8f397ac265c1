#include "engine/classify/nearest.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"

namespace prefixd {
namespace {

double Dot(absl::Span<const float> a, absl::Span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

NearestDemonstrations::NearestDemonstrations(absl::Span<const std::vector<float>> vectors) {
  if (vectors.empty()) return;
  dim_ = vectors.front().size();
  PREFIXD_CHECK(dim_ > 0);
  vectors_.reserve(vectors.size() * dim_);
  norms_.reserve(vectors.size());
  for (const std::vector<float>& vector : vectors) {
    PREFIXD_CHECK(vector.size() == dim_);
    vectors_.insert(vectors_.end(), vector.begin(), vector.end());
    const double norm = std::sqrt(Dot(vector, vector));
    norms_.push_back(norm > 0 ? norm : 1);
  }
}

std::vector<int32_t> NearestDemonstrations::MostSimilar(absl::Span<const float> query,
                                                        int32_t k) const {
  if (norms_.empty()) return {};
  PREFIXD_CHECK(query.size() == dim_ && k >= 0);
  // The length of the query is a factor of all.
  std::vector<double> cosines(norms_.size());
  for (size_t i = 0; i < cosines.size(); ++i) {
    cosines[i] = Dot(query, absl::MakeConstSpan(vectors_).subspan(i * dim_, dim_)) / norms_[i];
  }
  std::vector<int32_t> order(cosines.size());
  std::iota(order.begin(), order.end(), 0);
  const auto kept = order.begin() + std::min<ptrdiff_t>(k, static_cast<ptrdiff_t>(order.size()));
  std::partial_sort(order.begin(), kept, order.end(), [&cosines](int32_t a, int32_t b) {
    const double left = cosines[static_cast<size_t>(a)], right = cosines[static_cast<size_t>(b)];
    return left != right ? left > right : a < b;
  });
  order.erase(kept, order.end());
  std::reverse(order.begin(), order.end());
  return order;
}

}  // namespace prefixd
