#include "engine/backend/ref/ref_head.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace prefixd::ref {

void HeadLogprobsOfRow(const double* x, const RefMatrix& weight, absl::Span<const int32_t> columns,
                       std::vector<double>* logits, absl::Span<float> y) {
  logits->assign(static_cast<size_t>(weight.rows()), 0.0);
  for (int64_t n = 0; n < weight.rows(); ++n) {
    const float* const row = weight.row(n);
    for (int64_t k = 0; k < weight.cols(); ++k) (*logits)[n] += x[k] * row[k];
  }
  const double largest = *std::max_element(logits->begin(), logits->end());
  double sum = 0;
  for (const double logit : *logits) sum += std::exp(logit - largest);
  const double log_sum = largest + std::log(sum);
  for (size_t i = 0; i < columns.size(); ++i) {
    PREFIXD_CHECK(columns[i] >= 0 && columns[i] < weight.rows());
    const double value = (*logits)[columns[i]] - log_sum;
    y[i] = static_cast<float>(value > 0 ? 0.0 : value);  // NaN stays.
  }
}

}  // namespace prefixd::ref
