// What the files of column sums share; for column_sums*.cu only.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_COLUMN_SUMS_CORE_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_COLUMN_SUMS_CORE_H_

#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/column_sums.h"

namespace prefixd::cuda {

struct ColumnSumArguments {
  const void* q = nullptr;
  int64_t q_stride = 0;
  KvPages pages;
  int num_heads = 0;
  float scale_log2 = 0;  // scale * log2(e)
  AttentionRows rows;
  const float* slopes = nullptr;  // As in ColumnSums.
  const float* lse = nullptr;
  const SummedRows* segments = nullptr;
  int32_t num_segments = 0;
  float* scratch = nullptr;
};

// The probability of a score under its row's log-sum-exp. At most 1: of scores so large that the
// log-sum-exp lost their last digits it is not the power of a rounding error. A NaN stays one.
__device__ __forceinline__ float Probability(float score, float lse) {
  const float p = dev::Exp2(score - lse);
  return p > 1.0f ? 1.0f : p;
}

// The first pass: scratch[scratch_offset + r * num_slots + s] of a segment becomes the mean
// probability of slot s for row row_begin + r, 0 where the row does not see s. Heads ascend, and
// nothing but the row and the slot matters to a value. max_rows, max_slots: of a segment.
cudaError_t LaunchTileProbabilities(const ColumnSumArguments& args, Element type, int32_t max_rows,
                                    int32_t max_slots, cudaStream_t stream);
cudaError_t LaunchPlainProbabilities(const ColumnSumArguments& args, Element q_type,
                                     int32_t max_rows, int32_t max_slots, cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_COLUMN_SUMS_CORE_H_
