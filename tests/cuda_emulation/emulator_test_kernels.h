// Small kernels, right ones and wrong ones, for the tests of the emulator.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_TEST_KERNELS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_TEST_KERNELS_H_

#include <cuda_runtime.h>

#include <cstdint>

namespace prefixd::emu {

// y[block] = the sum of 128 values: a reduction through shared memory and shuffles. Without its
// barriers, partial sums are read before they are written (kNoBarrierBefore), or the buffer is
// overwritten by the next round before everybody has read it (kNoBarrierAfter).
enum class SumBug { kNone, kNoBarrierBefore, kNoBarrierAfter };
cudaError_t LaunchBlockSums(const float* x, float* y, int num_blocks, int rounds, SumBug bug);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_TEST_KERNELS_H_
