// The importance of PrefixKV (arXiv:2412.03409): attention probabilities, averaged over the heads,
// summed over the queries. Two passes: the first computes mean probabilities of a chunk's queries
// from their log-sum-exp (heads in ascending order, no atomics), the second folds them into the
// sums, queries in ascending order; so the sums depend on neither batch nor chunks.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_COLUMN_SUMS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_COLUMN_SUMS_H_

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

// Rows [row_begin, row_begin + num_rows) of the call, all of one sequence, ascending: sums[s] +=
// the mean over the heads of what each row gives slot s. No two segments of a call share sums or
// scratch.
struct SummedRows {
  int32_t row_begin = 0;
  int32_t num_rows = 0;
  int32_t num_slots = 0;  // The most that one of the rows sees.
  int32_t unused = 0;
  int64_t scratch_offset = 0;  // In floats: [num_rows, num_slots] of `scratch`.
  float* sums = nullptr;
};

struct ColumnSums {
  const DeviceMatrix* q = nullptr;  // As the attention call had it.
  KvPages pages;
  int num_heads = 0;
  float scale = 0;
  const float* slopes = nullptr;  // As in SplitAttention.
  AttentionRows rows;
  const float* lse = nullptr;                 // [rows, num_heads], of the attention call.
  const SummedRows* segments = nullptr;       // [num_segments], device memory.
  const SummedRows* host_segments = nullptr;  // The same, host memory: fixes the grid.
  int32_t num_segments = 0;
  float* scratch = nullptr;
};

// Tensor cores where TileKernelTakes, else plain loops of any type and head_dim.
cudaError_t LaunchColumnSums(const ColumnSums& call, cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_COLUMN_SUMS_H_
