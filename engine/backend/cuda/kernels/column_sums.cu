#include "engine/backend/cuda/kernels/column_sums.h"

#include <algorithm>
#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/column_sums_core.h"
#include "engine/backend/cuda/kernels/tile_memory.h"

namespace prefixd::cuda {
namespace {

constexpr int kFoldThreads = 128;
constexpr int kFoldRows = 32;  // Loads under way at a time.

// Grid: (slots / kFoldThreads, segments). A thread has one slot.
__global__ void __launch_bounds__(kFoldThreads)
    FoldKernel(const SummedRows* segments, const float* scratch) {
  const SummedRows segment = segments[blockIdx.y];
  const int slot = static_cast<int>(blockIdx.x) * kFoldThreads + static_cast<int>(threadIdx.x);
  if (slot >= segment.num_slots) return;
  const float* const column = scratch + segment.scratch_offset + slot;
  int end = segment.num_rows;
  if (PREFIXD_KERNEL_BUG(kFoldReadsTailRow)) ++end;
  if (PREFIXD_KERNEL_BUG(kFoldSkipsRow)) --end;
  float sum = segment.sums[slot];
  for (int first = 0; first < end; first += kFoldRows) {
    float values[kFoldRows];
    PREFIXD_UNROLL
    for (int i = 0; i < kFoldRows; ++i) {
      const int row = first + i;
      values[i] = row < end ? column[static_cast<int64_t>(row) * segment.num_slots] : 0.0f;
    }
    PREFIXD_UNROLL
    for (int i = 0; i < kFoldRows; ++i) sum += values[i];
  }
  segment.sums[slot] = sum;
}

bool IsValid(const ColumnSums& call) {
  if (call.q == nullptr || call.lse == nullptr || call.segments == nullptr ||
      call.host_segments == nullptr || call.num_segments < 0 || call.num_segments > 65535 ||
      call.num_heads <= 0 || call.pages.num_kv_heads <= 0 || call.pages.head_dim <= 0 ||
      call.num_heads % call.pages.num_kv_heads != 0 ||
      call.q->cols < int64_t{call.num_heads} * call.pages.head_dim ||
      call.q->rows < call.rows.num_rows ||
      (call.slopes != nullptr &&
       (call.pages.positions == nullptr || call.rows.position == nullptr))) {
    return false;
  }
  for (int32_t i = 0; i < call.num_segments; ++i) {
    const SummedRows& segment = call.host_segments[i];
    if (segment.row_begin < 0 || segment.num_rows < 0 || segment.num_slots < 0 ||
        segment.num_rows > call.rows.num_rows - segment.row_begin || segment.scratch_offset < 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

cudaError_t LaunchColumnSums(const ColumnSums& call, cudaStream_t stream) {
  if (call.num_segments == 0) return cudaSuccess;
  if (!IsValid(call)) return cudaErrorInvalidValue;
  int32_t max_rows = 0, max_slots = 0;
  for (int32_t i = 0; i < call.num_segments; ++i) {
    max_rows = std::max(max_rows, call.host_segments[i].num_rows);
    max_slots = std::max(max_slots, call.host_segments[i].num_slots);
  }
  if (max_rows == 0 || max_slots == 0) return cudaSuccess;
  if (call.scratch == nullptr) return cudaErrorInvalidValue;

  ColumnSumArguments args;
  args.q = call.q->data;
  args.q_stride = call.q->stride;
  args.pages = call.pages;
  args.num_heads = call.num_heads;
  args.scale_log2 = call.scale * kLog2E;
  args.slopes = call.slopes;
  args.rows = call.rows;
  args.lse = call.lse;
  args.segments = call.segments;
  args.num_segments = call.num_segments;
  args.scratch = call.scratch;
  const bool tiles = TileKernelTakes(call.q->type, call.pages) &&
                     Aligned16(call.q->data, call.q->stride, call.q->type) &&
                     Aligned16(call.pages.data, 0, call.pages.type);
  const cudaError_t error =
      tiles ? LaunchTileProbabilities(args, call.q->type, max_rows, max_slots, stream)
            : LaunchPlainProbabilities(args, call.q->type, max_rows, max_slots, stream);
  if (error != cudaSuccess) return error;
  PREFIXD_LAUNCH((FoldKernel),
                 dim3((static_cast<unsigned>(max_slots) + kFoldThreads - 1) / kFoldThreads,
                      static_cast<unsigned>(call.num_segments)),
                 dim3(kFoldThreads), 0, stream, call.segments, call.scratch);
  return cudaGetLastError();
}

}  // namespace prefixd::cuda
