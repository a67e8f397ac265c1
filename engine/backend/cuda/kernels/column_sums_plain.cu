// The first pass of column sums for any types and head_dim: a thread has one slot of one row.
#include <algorithm>
#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/alibi.h"
#include "engine/backend/cuda/kernels/column_sums_core.h"

namespace prefixd::cuda {
namespace {

constexpr int kThreads = 128;

// Grid: (slots / kThreads, rows or fewer, segments).
template <typename Q, typename K>
__global__ void __launch_bounds__(kThreads) PlainProbabilitiesKernel(ColumnSumArguments args) {
  const SummedRows segment = args.segments[blockIdx.z];
  const int slot = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (slot >= segment.num_slots) return;
  const int head_dim = args.pages.head_dim;
  const int group = args.num_heads / args.pages.num_kv_heads;
  const float inverse = 1.0f / static_cast<float>(args.num_heads);
  for (int row = static_cast<int>(blockIdx.y); row < segment.num_rows;
       row += static_cast<int>(gridDim.y)) {
    const int64_t call_row = static_cast<int64_t>(segment.row_begin) + row;
    float sum = 0;
    if (slot < args.rows.visible[call_row]) {
      const int32_t* const table = args.rows.tables + static_cast<int64_t>(args.rows.table_stride) *
                                                          args.rows.sequence[call_row];
      const K* const keys = static_cast<const K*>(args.pages.data) +
                            table[slot / kSlots] * args.pages.page_elements() +
                            slot % kSlots * head_dim;
      const Q* const queries = static_cast<const Q*>(args.q) + call_row * args.q_stride;
      const int distance = args.slopes == nullptr ? 0
                                                  : SlotPosition(args.pages, table, slot) -
                                                        args.rows.position[call_row];
      for (int head = 0; head < args.num_heads; ++head) {
        const Q* const q = queries + static_cast<int64_t>(head) * head_dim;
        const K* const k = keys + static_cast<int64_t>(head / group) * kSlots * head_dim;
        float dot = 0;
        for (int d = 0; d < head_dim; ++d) {
          dot = fmaf(dev::ToFloat(q[d]), dev::ToFloat(k[d]), dot);
        }
        float score = ScaledScore(dot, args.scale_log2);
        if (args.slopes != nullptr) {
          score = WithDistance(score, SlopeLog2(args.slopes, head), distance);
        }
        sum += Probability(score, args.lse[call_row * args.num_heads + head]);
      }
    }
    args.scratch[segment.scratch_offset + static_cast<int64_t>(row) * segment.num_slots + slot] =
        sum * inverse;
  }
}

template <typename Q, typename K>
cudaError_t Launch(const ColumnSumArguments& args, dim3 grid, cudaStream_t stream) {
  PREFIXD_LAUNCH((PlainProbabilitiesKernel<Q, K>), grid, dim3(kThreads), 0, stream, args);
  return cudaGetLastError();
}

template <typename Q>
cudaError_t LaunchForKeys(const ColumnSumArguments& args, dim3 grid, cudaStream_t stream) {
  switch (args.pages.type) {
    case Element::kF32:
      return Launch<Q, float>(args, grid, stream);
    case Element::kF16:
      return Launch<Q, dev::f16>(args, grid, stream);
    case Element::kBF16:
      return Launch<Q, dev::bf16>(args, grid, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace

cudaError_t LaunchPlainProbabilities(const ColumnSumArguments& args, Element q_type,
                                     int32_t max_rows, int32_t max_slots, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((int64_t{max_slots} + kThreads - 1) / kThreads),
                  static_cast<unsigned>(std::min(max_rows, 65535)),
                  static_cast<unsigned>(args.num_segments));
  switch (q_type) {
    case Element::kF32:
      return LaunchForKeys<float>(args, grid, stream);
    case Element::kF16:
      return LaunchForKeys<dev::f16>(args, grid, stream);
    case Element::kBF16:
      return LaunchForKeys<dev::bf16>(args, grid, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace prefixd::cuda
