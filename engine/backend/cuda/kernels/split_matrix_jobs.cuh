// Who computes what in SplitMatrix (split_attention_matrix.cuh).
//
// Its grid is (row, part of a split, kv head). The first `turns` parts are of the row's own slots,
// kMatrixRows heads of the group each; as many more, if rows are grouped, of the slots that the
// group shares: of these the n-th block of a group's members does kMatrixRows pairs (member, head).
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_MATRIX_JOBS_CUH_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_MATRIX_JOBS_CUH_

#include "engine/backend/cuda/kernels/split_states.h"

namespace prefixd::cuda {

inline constexpr int kMatrixRows = kSplitThreads / 32 * 16;  // Of a block.

__host__ __device__ inline int MatrixTurns(const SplitCall& call) {
  return CeilDiv(call.group_heads, kMatrixRows);
}

__host__ __device__ inline int MatrixParts(const SplitCall& call) {
  return MatrixTurns(call) * (call.groups.shared == nullptr ? 1 : 2);
}

// Pairs [first, first + kMatrixRows) of (row, head of the group), over slots [begin, end), at most
// a split of them. Nothing to do where begin == end.
struct MatrixJob {
  const int32_t* rows = nullptr;  // Null: the block's own row.
  int32_t num_pairs = 0;
  int32_t first = 0;
  int32_t begin = 0;
  int32_t end = 0;
  int32_t state = 0;  // Where the states go.

  __device__ int Row(int pair, int group_heads) const {
    return rows == nullptr ? static_cast<int>(blockIdx.x) : rows[pair / group_heads];
  }
};

__device__ inline MatrixJob OwnJob(const SplitCall& call, int row, int split, int turn) {
  MatrixJob job;
  const int shared = call.Shared(row);
  job.num_pairs = call.group_heads;
  job.first = turn * kMatrixRows;
  job.end = min((split + 1) * kSplitSlots, call.Visible(row));
  job.begin = min(max(split * kSplitSlots, shared), job.end);
  job.state = split + (shared % kSplitSlots != 0);
  return job;
}

__device__ inline MatrixJob SharedJob(const SplitCall& call, int row, int split, int turn) {
  MatrixJob job;
  const int shared = call.Shared(row);
  if (split * kSplitSlots >= shared) return job;
  const int leader = call.groups.leader[row];
  const int32_t* members = call.groups.members + call.groups.member_begin[leader];
  const int count = call.groups.member_count[leader];
  const int num_pairs =
      (PREFIXD_KERNEL_BUG(kSplitSkipsMember) ? count - 1 : count) * call.group_heads;
  const int blocks = min(count, CeilDiv(num_pairs, kMatrixRows) - turn * count);
  for (int n = 0; n < blocks; ++n) {
    if (members[n] != row) continue;
    job.rows = members;
    job.num_pairs = num_pairs;
    job.first = (turn * count + n) * kMatrixRows;
    job.begin = split * kSplitSlots;
    job.end = min(job.begin + kSplitSlots, shared);
    job.state = split;
  }
  return job;
}

__device__ inline MatrixJob JobOfBlock(const SplitCall& call) {
  const int row = static_cast<int>(blockIdx.x);
  const int turns = MatrixTurns(call);
  const int parts = MatrixParts(call);
  const int split = static_cast<int>(blockIdx.y) / parts;
  const int part = static_cast<int>(blockIdx.y) % parts;
  if (split * kSplitSlots >= call.Visible(row)) return MatrixJob();
  return part < turns ? OwnJob(call, row, split, part) : SharedJob(call, row, split, part - turns);
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_MATRIX_JOBS_CUH_
