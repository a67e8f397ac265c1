#include "tests/backend/attention_in_double.h"

#include <algorithm>
#include <cmath>

namespace prefixd {

void AttendInDouble(const AttentionShape& shape, const float* q, const SeenSlots& seen, float* y,
                    std::vector<double>* sums) {
  const int dim = shape.head_dim;
  const std::vector<float> slopes = shape.alibi ? shape.slopes() : std::vector<float>{};
  std::vector<double> p(seen.kv.size()), out(dim);
  for (int h = 0; h < shape.num_heads; ++h) {
    const int kv_head = h / (shape.num_heads / shape.num_kv_heads);
    double largest = -1e300, total = 0;
    for (size_t s = 0; s < p.size(); ++s) {
      const float* const k = seen.kv[s] + int64_t{kv_head} * dim;
      p[s] = 0;
      for (int d = 0; d < dim; ++d) p[s] += double{q[h * dim + d]} * k[d];
      p[s] *= shape.scale();
      if (shape.alibi) p[s] += double{slopes[h]} * seen.distances[s];
      largest = std::max(largest, p[s]);
    }
    for (double& weight : p) total += weight = std::exp(weight - largest);
    std::fill(out.begin(), out.end(), 0.0);
    for (size_t s = 0; s < p.size(); ++s) {
      const float* const v = seen.kv[s] + int64_t{shape.num_kv_heads + kv_head} * dim;
      for (int d = 0; d < dim; ++d) out[d] += p[s] / total * v[d];
      if (sums != nullptr) (*sums)[s] += p[s] / total / shape.num_heads;
    }
    for (int d = 0; d < dim; ++d) y[h * dim + d] = static_cast<float>(out[d]);
  }
}

HostMatrix SequenceInDouble(const AttentionShape& shape, const HostMatrix& qkv,
                            int32_t visible_prefix, int32_t first_summed_row, HostMatrix* sums) {
  HostMatrix y(qkv.rows, shape.output_cols());
  std::vector<double> all(qkv.rows);
  for (int32_t t = 0; t < qkv.rows; ++t) {
    SeenSlots seen;
    for (int32_t s = 0; s < std::max(t + 1, visible_prefix); ++s) {
      seen.kv.push_back(qkv.row(s) + shape.output_cols());
      seen.distances.push_back(s - t);
    }
    AttendInDouble(shape, qkv.row(t), seen, y.row(t), t >= first_summed_row ? &all : nullptr);
  }
  if (sums != nullptr) *sums = RowVector({all.begin(), all.end()});
  return y;
}

}  // namespace prefixd
