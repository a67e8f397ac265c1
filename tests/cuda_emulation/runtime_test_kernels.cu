#include "tests/cuda_emulation/runtime_test_kernels.h"

#include "engine/backend/cuda/device.h"

namespace prefixd::emu {
namespace {

__global__ void AddTo(const int* x, int value, int* y, int count) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < count) y[i] = x[i] + value;
}

}  // namespace

cudaError_t LaunchAddTo(const int* x, int value, int* y, int count, cudaStream_t stream) {
  PREFIXD_LAUNCH(AddTo, dim3((count + 31) / 32), dim3(32), 0, stream, x, value, y, count);
  return cudaGetLastError();
}

}  // namespace prefixd::emu
