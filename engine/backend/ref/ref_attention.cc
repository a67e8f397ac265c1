#include "engine/backend/ref/ref_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"

namespace prefixd::ref {

void AttendOne(absl::Span<const double> q, int count, double scale,
               const std::function<const double*(int)>& key,
               const std::function<const double*(int)>& value,
               const std::function<double(int)>& bias, double* y, double* probabilities) {
  PREFIXD_CHECK(count >= 1);
  std::vector<double> weights(static_cast<size_t>(count));
  for (int j = 0; j < count; ++j) {
    const double* const k = key(j);
    double dot = 0;
    for (size_t d = 0; d < q.size(); ++d) dot += q[d] * k[d];
    weights[j] = dot * scale + bias(j);
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) {
    weight = std::exp(weight - largest);
    sum += weight;
  }
  std::fill(y, y + q.size(), 0.0);
  for (int j = 0; j < count; ++j) {
    const double* const v = value(j);
    for (size_t d = 0; d < q.size(); ++d) y[d] += weights[j] / sum * v[d];
    if (probabilities != nullptr) probabilities[j] += weights[j] / sum;
  }
}

}  // namespace prefixd::ref
