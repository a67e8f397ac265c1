#include "tests/cuda_emulation/race_kernels.h"

#include <cstdint>

#include "engine/backend/cuda/device.h"

namespace prefixd::emu {
namespace {

constexpr uint32_t kAll = 0xFFFFFFFF;

__global__ void SharingKernel(Sharing sharing, unsigned* memory) {
  PREFIXD_DYN_SMEM(raw);
  __shared__ unsigned fixed[64];
  unsigned* shared = reinterpret_cast<unsigned*>(raw);
  const unsigned thread = threadIdx.x, rank = blockIdx.x * blockDim.x + thread;
  unsigned value = 0;
  switch (sharing) {
    case Sharing::kOwnWords:
      shared[thread] = thread;
      value = shared[thread] + memory[rank];
      break;
    case Sharing::kOwnHalves:
      reinterpret_cast<unsigned short*>(shared)[thread] = 1;
      reinterpret_cast<unsigned short*>(memory + 128)[rank] = 1;
      value = reinterpret_cast<unsigned short*>(shared)[thread];
      break;
    case Sharing::kOwnBytes:
      reinterpret_cast<unsigned char*>(shared)[thread] = 1;
      reinterpret_cast<unsigned char*>(memory + 128)[rank] = 1;
      value = reinterpret_cast<unsigned char*>(shared)[thread];
      break;
    case Sharing::kReadTogether:
      value = memory[200];
      break;
    case Sharing::kBarrierBetween:
      if (thread == 0) shared[0] = 3;
      __syncthreads();
      value = shared[0];
      __syncthreads();
      if (thread == 63) shared[0] = 4;
      break;
    case Sharing::kWarpBarrierBetween:
      shared[thread] = thread;
      __syncwarp();
      value = shared[thread ^ 1];
      __syncwarp();
      shared[thread] = 0;
      break;
    case Sharing::kAtomics:
      atomicAdd(&memory[200], 1u);
      break;
    case Sharing::kAtomicThenBarrier:
      if (thread == 0) shared[0] = 0;
      __syncthreads();
      atomicAdd(&shared[0], 1u);
      __syncthreads();
      value = shared[0];
      break;
    case Sharing::kStaticShared:
      fixed[thread] = thread;
      __syncthreads();
      value = fixed[63 - thread];
      break;
    case Sharing::kEqualValues:
      if (thread == 3 || thread == 40) shared[0] = 1;
      break;
    case Sharing::kBlocksWrite:
      if (thread == 0) memory[200] = 1;
      break;
    case Sharing::kBlocksWriteAndRead:
      if (rank == 0) memory[200] = 1;
      if (rank == 64) value = memory[200];
      break;
    case Sharing::kShuffleBetween:
      shared[thread] = thread;
      value = __shfl_xor_sync(kAll, thread, 1);
      value += shared[thread ^ 1];
      break;
    case Sharing::kPartialWarpBarrier:
      shared[thread] = thread;
      if (thread % 32 < 16) __syncwarp(0xFFFF);
      value = shared[thread ^ 16];
      break;
    case Sharing::kManyReadersOneWriter:
      if (thread == 0) shared[0] = 3;
      __syncthreads();
      value = shared[0];
      if (thread == 20) shared[0] = value + 1;
      break;
    case Sharing::kLaneReadersOneWriter:
      if (thread == 0) shared[0] = 3;
      __syncthreads();
      if (thread < 32) {
        if (thread < 8) value = shared[0];
        if (thread == 0) shared[0] = 4;
      }
      break;
    case Sharing::kAtomicAndRead:
      if (rank == 5) atomicAdd(&memory[200], 1u);
      if (rank == 100) value = memory[200];
      break;
    case Sharing::kStaticSharedNoBarrier:
      fixed[thread] = thread;
      value = fixed[63 - thread];
      break;
    case Sharing::kReadBeyondShared:
      value = shared[64];
      break;
    case Sharing::kReadBeyondGlobal:
      value = memory[256];
      break;
  }
  memory[rank] = value;
}

}  // namespace

cudaError_t LaunchSharing(Sharing sharing, unsigned* memory) {
  PREFIXD_LAUNCH(SharingKernel, dim3(2), dim3(64), 256, nullptr, sharing, memory);
  return cudaGetLastError();
}

}  // namespace prefixd::emu
