// Kernels that tests of the emulated runtime launch.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_RUNTIME_TEST_KERNELS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_RUNTIME_TEST_KERNELS_H_

#include <cuda_runtime.h>

namespace prefixd::emu {

// y[i] = x[i] + value, i < count. Returns the launch's error.
cudaError_t LaunchAddTo(const int* x, int value, int* y, int count, cudaStream_t stream);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_RUNTIME_TEST_KERNELS_H_
