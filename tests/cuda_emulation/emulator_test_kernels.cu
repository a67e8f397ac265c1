#include "tests/cuda_emulation/emulator_test_kernels.h"

#include "engine/backend/cuda/device.h"

namespace prefixd::emu {
namespace {

constexpr uint32_t kAll = 0xFFFFFFFF;

__device__ float WarpSum(float x) {
  PREFIXD_UNROLL for (int bits = 16; bits > 0; bits /= 2) x += __shfl_xor_sync(kAll, x, bits);
  return x;
}

__global__ void __launch_bounds__(128)
    BlockSumsKernel(const float* x, float* y, int rounds, SumBug bug) {
  PREFIXD_DYN_SMEM(shared);
  float* partial = reinterpret_cast<float*>(shared);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  float total = 0;
  for (int round = 0; round < rounds; ++round) {
    const int64_t row = static_cast<int64_t>(blockIdx.x) * rounds + round;
    const float sum = WarpSum(x[row * 128 + threadIdx.x]);
    if (lane == 0) partial[warp] = sum;
    if (bug != SumBug::kNoBarrierBefore) __syncthreads();
    total += partial[0] + partial[1] + partial[2] + partial[3];
    if (bug != SumBug::kNoBarrierAfter) __syncthreads();
  }
  if (threadIdx.x == 0) y[blockIdx.x] = total;
}

}  // namespace

cudaError_t LaunchBlockSums(const float* x, float* y, int num_blocks, int rounds, SumBug bug) {
  PREFIXD_LAUNCH(BlockSumsKernel, dim3(num_blocks), dim3(128), 16, nullptr, x, y, rounds, bug);
  return cudaGetLastError();
}

}  // namespace prefixd::emu
