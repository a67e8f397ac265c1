#include "tests/cuda_emulation/fault_kernels.h"

#include "engine/backend/cuda/device.h"

namespace prefixd::emu {
namespace {

namespace dev = ::prefixd::cuda::dev;

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
    if (bug != SumBug::kNoFirstBarrier) __syncthreads();
    total += partial[0] + partial[1] + partial[2] + partial[3];
    if (bug != SumBug::kNoSecondBarrier) __syncthreads();
  }
  y[blockIdx.x * 128 + threadIdx.x] = total;
}

__global__ void AsyncCopyKernel(const float* x, float* y, int num_tiles, CopyBug bug) {
  PREFIXD_DYN_SMEM(shared);
  float* tiles = reinterpret_cast<float*>(shared);
  const int thread = threadIdx.x;
  const auto load = [&](int tile) {
    dev::CpAsync16(tiles + tile % 2 * 128 + thread * 4, x + tile * 128 + thread * 4,
                   tile < num_tiles);
    dev::CpAsyncCommit();
  };
  load(0);
  for (int tile = 0; tile < num_tiles; ++tile) {
    load(tile + 1);
    if (bug == CopyBug::kNone || bug == CopyBug::kNoBarrier) dev::CpAsyncWait<1>();
    if (bug == CopyBug::kWaitsForTooFew) dev::CpAsyncWait<2>();
    if (bug != CopyBug::kNoBarrier) __syncthreads();
    // Not what this thread copied.
    const float* other = tiles + tile % 2 * 128 + (31 - thread) * 4;
    dev::Store16(y + tile * 128 + (31 - thread) * 4, dev::Load16(other));
    if (bug != CopyBug::kNoBarrier) __syncthreads();
  }
}

__global__ void FaultKernel(PlannedFault fault, float* x) {
  const unsigned thread = threadIdx.x;
  const float value = static_cast<float>(thread);
  float sum = 0;
  switch (fault) {
    case PlannedFault::kNone:
      break;
    case PlannedFault::kShuffleUnderDivergence:
      if (thread < 16) sum = __shfl_xor_sync(kAll, value, 1);
      break;
    case PlannedFault::kCallerNotInMask:
      sum = __shfl_xor_sync(0xFFFF, value, 1);
      break;
    case PlannedFault::kSourceNotInMask:
      if (thread < 16) sum = __shfl_sync(0xFFFF, value, 20);
      break;
    case PlannedFault::kMaskOfMissingLanes:
      sum = __shfl_xor_sync(kAll, value, 1);
      break;
    case PlannedFault::kDifferentOperations:
      if (thread % 32 < 16) {
        __syncwarp();
      } else {
        sum = static_cast<float>(__ballot_sync(kAll, 1));
      }
      break;
    case PlannedFault::kDifferentBarriers:
      if (thread < 32) __syncthreads();
      __syncthreads();
      break;
    case PlannedFault::kBarrierAgainstShuffle:
      if (thread == 5) __syncthreads();
      sum = __shfl_xor_sync(kAll, value, 1);
      __syncthreads();
      break;
    case PlannedFault::kMisalignedLoad16:
      sum = __uint_as_float(dev::Load16(x + 1).x);
      break;
    case PlannedFault::kMisalignedReference:
      *reinterpret_cast<float4*>(x + 9) = *reinterpret_cast<const float4*>(x + 1);
      break;
    case PlannedFault::kCopyToGlobal:
      dev::CpAsync16(x, x, true);
      break;
  }
  x[thread] = sum;
}

__global__ void EarlyReturnKernel(float* y) {
  if (threadIdx.x % 3 == 0) return;
  __syncthreads();
  y[threadIdx.x] = 1;
}

__global__ void ReadFreshSharedKernel(uint32_t* y) {
  PREFIXD_DYN_SMEM(shared);
  __shared__ uint32_t fixed;
  uint32_t* words = reinterpret_cast<uint32_t*>(shared);
  y += blockIdx.x * 129;
  y[threadIdx.x] = words[threadIdx.x];
  if (threadIdx.x == 0) y[128] = fixed;
  __syncthreads();
  words[threadIdx.x] = 7;
  if (threadIdx.x == 0) fixed = 7;
}

__global__ void FillKernel(float* y, float value) { y[threadIdx.x] = value; }

__global__ void CountersKernel(unsigned* counters) {
  const unsigned rank = blockIdx.x * blockDim.x + threadIdx.x;
  atomicAdd(&counters[0], 1u);
  atomicAdd(&counters[1], rank);
  atomicMax(&counters[2], rank);
  const unsigned even = __ballot_sync(kAll, rank % 2 == 0);
  if (threadIdx.x % 32 == 0) {
    unsigned seen = atomicCAS(&counters[3], 0u, 0u), before;
    do {
      before = seen;
      seen = atomicCAS(&counters[3], before, before + __popc(even));
    } while (seen != before);
  }
}

}  // namespace

cudaError_t LaunchBlockSums(const float* x, float* y, int num_blocks, int rounds, SumBug bug,
                            size_t shared_bytes) {
  PREFIXD_LAUNCH(BlockSumsKernel, dim3(num_blocks), dim3(128), shared_bytes, nullptr, x, y, rounds,
                 bug);
  return cudaGetLastError();
}

cudaError_t LaunchAsyncCopy(const float* x, float* y, int num_tiles, CopyBug bug) {
  PREFIXD_LAUNCH(AsyncCopyKernel, dim3(1), dim3(32), 1024, nullptr, x, y, num_tiles, bug);
  return cudaGetLastError();
}

cudaError_t LaunchFault(PlannedFault fault, float* x) {
  const unsigned threads = fault == PlannedFault::kMaskOfMissingLanes ? 40 : 64;
  PREFIXD_LAUNCH(FaultKernel, dim3(1), dim3(threads), 0, nullptr, fault, x);
  return cudaGetLastError();
}

cudaError_t LaunchEarlyReturn(float* y) {
  PREFIXD_LAUNCH(EarlyReturnKernel, dim3(1), dim3(96), 0, nullptr, y);
  return cudaGetLastError();
}

cudaError_t LaunchReadFreshShared(uint32_t* y) {
  PREFIXD_LAUNCH(ReadFreshSharedKernel, dim3(3), dim3(128), 512, nullptr, y);
  return cudaGetLastError();
}

cudaError_t LaunchFill(float* y, float value, unsigned blocks, unsigned threads,
                       size_t shared_bytes) {
  PREFIXD_LAUNCH(FillKernel, dim3(blocks), dim3(threads), shared_bytes, nullptr, y, value);
  return cudaGetLastError();
}

cudaError_t AllowFill(size_t shared_bytes) {
  return dev::AllowSharedMemory(FillKernel, shared_bytes);
}

cudaError_t LaunchCounters(unsigned* counters) {
  PREFIXD_LAUNCH(CountersKernel, dim3(4), dim3(64), 0, nullptr, counters);
  return cudaGetLastError();
}

}  // namespace prefixd::emu
