// What the kernels of split attention (split_attention.h) share: the call as they see it, where the
// softmax states lie and the launchers of each kernel. Internal.
//
// A state of (row, head) is the largest score m (times log2(e)), the sum of 2^(score - m) and the
// values weighted with 2^(score - m), over the slots of one split. States lie in ascending order of
// their slots. Where a group's shared slots end inside a split, that split has two: the shared
// slots', then the row's own; so from there on states lie one place further.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_STATES_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_STATES_H_

#include <cmath>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/alibi.h"
#include "engine/backend/cuda/kernels/split_attention.h"

namespace prefixd::cuda {

inline constexpr int kSplitThreads = 128;
inline constexpr int kMaxGridY = 65535;  // And z.
inline constexpr int kSplitPages = kSplitSlots / kSlots;

__host__ __device__ constexpr int CeilDiv(int a, int b) { return (a + b - 1) / b; }

struct SplitStates {
  float2* bounds = nullptr;  // [row, head, per_head]: m and the sum.
  float* values = nullptr;   // [row, head, per_head, head_dim].
  int32_t per_head = 0;      // Places for one (row, head).
};

// Passed to kernels by value.
struct SplitCall {
  const void* q = nullptr;
  int64_t q_stride = 0;
  KvPages pages;
  int32_t num_heads = 0;
  int32_t group_heads = 0;        // Heads that read one kv head.
  float scale_log2 = 0;           // The scale times log2(e).
  const float* slopes = nullptr;  // As in SplitAttention.
  AttentionRows rows;
  RowGroups groups;
  SplitStates states;
  DeviceMatrix y;
  float* lse = nullptr;

  __device__ int64_t StateIndex(int64_t row, int64_t head, int state) const {
    return (row * num_heads + head) * states.per_head + state;
  }
  __device__ int Visible(int row) const {
    return rows.visible[PREFIXD_KERNEL_BUG(kSplitWrongVisibility) ? rows.sequence[row] : row];
  }
  // The slot of its sequence that the row sees as its slot `slot`.
  __device__ int SlotOf(int row, int slot) const {
    if (rows.context == nullptr || slot < rows.context[row]) return slot;
    const int path = PREFIXD_KERNEL_BUG(kSplitWrongPath) && row > 0 ? row - 1 : row;
    return rows.paths[rows.path_begin[path] + slot - rows.context[row]];
  }
  // Leading slots of the row whose states its group computes.
  __device__ int Shared(int row) const {
    return groups.shared == nullptr ? 0 : min(groups.shared[row], Visible(row));
  }
};

// The end of the slots before `end` that may be read.
__device__ inline int MaskedEnd(int end) {
  return PREFIXD_KERNEL_BUG(kSplitUnmaskedTail) ? CeilDiv(end, kSlots) * kSlots : end;
}

// The element where the page of slot `slot` of the row's sequence holds the K rows of kv_head.
__device__ inline int64_t PageOffset(const SplitCall& call, int row, int kv_head, int slot) {
  const int32_t* table =
      call.rows.tables + static_cast<int64_t>(call.rows.sequence[row]) * call.rows.table_stride;
  int place = slot / kSlots;
  if (PREFIXD_KERNEL_BUG(kSplitPageOffByOne)) place = max(place - 1, 0);
  int64_t offset = table[place] * call.pages.page_elements();
  if (PREFIXD_KERNEL_BUG(kSplitPageOffset32)) offset = static_cast<uint32_t>(offset);
  return offset + static_cast<int64_t>(kv_head) * kSlots * call.pages.head_dim;
}

// offsets[i] = the element where page i (counted from the page of slot `begin`) holds the K rows of
// kv_head, for the pages of slots [begin, end); those of further pages name some element. Called by
// all threads; ends without a barrier.
__device__ inline void LoadPageOffsets(const SplitCall& call, int row, int kv_head, int begin,
                                       int end, int64_t* offsets) {
  const int i = static_cast<int>(threadIdx.x);
  if (i >= kSplitPages) return;
  const bool read = i < CeilDiv(end - begin, kSlots);
  offsets[i] = read ? PageOffset(call, row, kv_head, (begin / kSlots + i) * kSlots) : 0;
}

// offsets[i] = the element where the K row of kv_head begins that the row sees as its slot begin +
// i, for slots [begin, end), at most a split; behind them some element. As LoadPageOffsets.
__device__ inline void LoadSlotOffsets(const SplitCall& call, int row, int kv_head, int begin,
                                       int end, int64_t* offsets) {
  for (int i = static_cast<int>(threadIdx.x); i < kSplitSlots; i += kSplitThreads) {
    int64_t offset = 0;
    if (begin + i < end) {
      const int slot = call.SlotOf(row, begin + i);
      offset = PageOffset(call, row, kv_head, slot) +
               static_cast<int64_t>(slot % kSlots) * call.pages.head_dim;
    }
    offsets[i] = offset;
  }
}

// positions[i] = the position in slot begin + i, for slots [begin, end), at most a split; 0 behind
// them. As LoadPageOffsets.
__device__ inline void LoadPositions(const SplitCall& call, int row, int begin, int end,
                                     int32_t* positions) {
  const int32_t* table =
      call.rows.tables + static_cast<int64_t>(call.rows.sequence[row]) * call.rows.table_stride;
  for (int i = static_cast<int>(threadIdx.x); i < kSplitSlots; i += kSplitThreads) {
    positions[i] =
        begin + i < end ? SlotPosition(call.pages, table, call.SlotOf(row, begin + i)) : 0;
  }
}

// Each returns the error of its launch. The grid of all but the last is (row, split, kv head) up to
// rows.max_visible; blocks beyond what their row sees leave at once, so a captured launch serves
// any lengths up to that.
cudaError_t LaunchSplitPlain(const SplitCall& call, Element activation, cudaStream_t stream);
cudaError_t LaunchSplitVectorF16(const SplitCall& call, cudaStream_t stream);
cudaError_t LaunchSplitVectorBF16(const SplitCall& call, cudaStream_t stream);
cudaError_t LaunchSplitMatrixF16(const SplitCall& call, cudaStream_t stream);
cudaError_t LaunchSplitMatrixBF16(const SplitCall& call, cudaStream_t stream);
cudaError_t LaunchSplitMatrixAlibiF16(const SplitCall& call, cudaStream_t stream);
cudaError_t LaunchSplitMatrixAlibiBF16(const SplitCall& call, cudaStream_t stream);
// Of trees, with ALiBi or without.
cudaError_t LaunchSplitMatrixTreeF16(const SplitCall& call, cudaStream_t stream);
cudaError_t LaunchSplitMatrixTreeBF16(const SplitCall& call, cudaStream_t stream);
cudaError_t LaunchSplitMerge(const SplitCall& call, cudaStream_t stream);

inline dim3 SplitGrid(const SplitCall& call) {
  return dim3(static_cast<unsigned>(call.rows.num_rows),
              static_cast<unsigned>(CeilDiv(call.rows.max_visible, kSplitSlots)),
              static_cast<unsigned>(call.pages.num_kv_heads));
}

// What a launch asks for, and so what a planted bug takes away.
inline size_t SplitSharedBytes(size_t bytes) {
  return PREFIXD_KERNEL_BUG(kSplitSharedMemorySmall) ? bytes - 16 : bytes;
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_STATES_H_
