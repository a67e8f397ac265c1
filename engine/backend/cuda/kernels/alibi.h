// Scores of attention, times log2(e): the product, and what ALiBi adds to it for the distance of a
// row and a slot (arXiv:2108.12409). The kernels that attend and those that take probabilities
// again get the same bits from the same product: nothing here is fused into what the caller adds.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ALIBI_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ALIBI_H_

#include <cmath>
#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

__device__ __forceinline__ float ScaledScore(float product, float scale_log2) {
  return __fmul_rn(product, scale_log2);
}

__device__ __forceinline__ float SlopeLog2(const float* slopes, int head) {
  return __fmul_rn(slopes[head], 1.4426950408889634f);
}

// distance: the slot's position less the row's.
__device__ __forceinline__ float WithDistance(float score, float slope_log2, int distance) {
  if (PREFIXD_KERNEL_BUG(kAlibiWrongSign)) distance = -distance;
  return fmaf(slope_log2, static_cast<float>(distance), score);
}

// The position in slot `slot` of the sequence whose pages `table` names.
__device__ __forceinline__ int SlotPosition(const KvPages& pages, const int32_t* table, int slot) {
  return pages.positions[static_cast<int64_t>(table[slot / kSlots]) * kSlots + slot % kSlots];
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ALIBI_H_
