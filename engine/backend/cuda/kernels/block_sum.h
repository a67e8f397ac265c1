// Sums over a block in two levels: within warps by shuffles, then over the warps' sums.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_BLOCK_SUM_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_BLOCK_SUM_H_

#include "engine/backend/cuda/device.h"

namespace prefixd::cuda {

inline constexpr int kMaxWarps = 32;

// All lanes get the same bits: an exchange with lane ^ offset adds the same two numbers in both.
__device__ __forceinline__ float WarpSum(float value) {
  PREFIXD_UNROLL for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

// The sum over the block, for every thread. The block is one row of whole warps; `partial` is
// shared memory of kMaxWarps floats that no thread has used since the last barrier.
__device__ __forceinline__ float BlockSum(float value, float* partial) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int num_warps = static_cast<int>(blockDim.x) / 32;
  value = WarpSum(value);
  if (lane == 0) partial[warp] = value;
  if (!PREFIXD_KERNEL_BUG(kReductionWithoutBarrier)) __syncthreads();
  return WarpSum(lane < num_warps ? partial[lane] : 0.0f);
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_BLOCK_SUM_H_
