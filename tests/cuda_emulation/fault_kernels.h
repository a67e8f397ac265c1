// Small kernels, right ones and wrong ones, for the tests of the emulator.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_FAULT_KERNELS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_FAULT_KERNELS_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace prefixd::emu {

// y[block, thread] = the sum of the block's rounds * 128 values of x: a reduction through shuffles
// and 16 bytes of shared memory. Without the first barrier of a round partial sums are read before
// they are written, without the second they are overwritten before everybody has read them.
enum class SumBug { kNone, kNoFirstBarrier, kNoSecondBarrier };
cudaError_t LaunchBlockSums(const float* x, float* y, int num_blocks, int rounds, SumBug bug,
                            size_t shared_bytes = 16);

// y[i] = x[i] of num_tiles * 128 values, through cp.async with two buffers.
enum class CopyBug { kNone, kNoWait, kWaitsForTooFew, kNoBarrier };
cudaError_t LaunchAsyncCopy(const float* x, float* y, int num_tiles, CopyBug bug);

// One block of 64 threads that ends in the fault.
enum class PlannedFault {
  kNone,
  kShuffleUnderDivergence,
  kCallerNotInMask,
  kSourceNotInMask,
  kMaskOfMissingLanes,
  kDifferentOperations,
  kDifferentBarriers,
  kBarrierAgainstShuffle,
  kMisalignedLoad16,
  kMisalignedReference,
  kCopyToGlobal,
};
cudaError_t LaunchFault(PlannedFault fault, float* x);

// Threads that return early do not hold up a barrier: y[thread] = 1 for those that stay.
cudaError_t LaunchEarlyReturn(float* y);

// What shared memory holds before anybody writes it: of each of 3 blocks, y[129 * block +
// 0..128) the dynamic, [128] the static.
cudaError_t LaunchReadFreshShared(uint32_t* y);

// y[thread] = value in `threads` threads, with so many bytes of shared memory.
cudaError_t LaunchFill(float* y, float value, unsigned blocks, unsigned threads,
                       size_t shared_bytes);
cudaError_t AllowFill(size_t shared_bytes);

// Every thread of 4 blocks of 64 adds to the counters: [0] 1, [1] its rank, [2] the largest value
// seen, [3] the number of even lanes, by ballot and compare-and-swap.
cudaError_t LaunchCounters(unsigned* counters);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_FAULT_KERNELS_H_
