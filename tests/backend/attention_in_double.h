// Attention of one row as loops in double, which the tests of attention compare with.
#ifndef PREFIXD_TESTS_BACKEND_ATTENTION_IN_DOUBLE_H_
#define PREFIXD_TESTS_BACKEND_ATTENTION_IN_DOUBLE_H_

#include <cstdint>
#include <vector>

#include "tests/backend/paged_kv.h"

namespace prefixd {

// What a row sees, in any order.
struct SeenSlots {
  std::vector<const float*> kv;    // K of all kv heads, then V.
  std::vector<int32_t> distances;  // Their positions less that of the row; for alibi.
};

// y[h, :] = softmax_s(scale q[h, :] . k[s] + slope[h] * distance[s]) v[s]. q, y: [num_heads *
// head_dim]. The mean over heads of each slot's probability is added to sums[s] unless that is
// null.
void AttendInDouble(const AttentionShape& shape, const float* q, const SeenSlots& seen, float* y,
                    std::vector<double>* sums);

// A whole sequence whose token t lies in slot t: rows see slots [0, max(t + 1, visible_prefix)).
// Rows first_summed_row and later add to *sums ([tokens]) unless that is null.
HostMatrix SequenceInDouble(const AttentionShape& shape, const HostMatrix& qkv,
                            int32_t visible_prefix, int32_t first_summed_row, HostMatrix* sums);

// Random q, k and v of `num_tokens` tokens, in numbers that the pool's type holds.
inline HostMatrix RandomQkv(RandomValues* random, const AttentionShape& shape, int64_t num_tokens) {
  return RoundedTo(shape.kv_dtype, random->Matrix(num_tokens, shape.qkv_cols()));
}

// What came of a sequence.
struct Attended {
  HostMatrix y;
  HostMatrix sums;
};

}  // namespace prefixd

#endif  // PREFIXD_TESTS_BACKEND_ATTENTION_IN_DOUBLE_H_
