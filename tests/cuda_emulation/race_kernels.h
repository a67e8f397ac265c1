// Small kernels with and without races, for the tests of the race detector.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_RACE_KERNELS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_RACE_KERNELS_H_

#include <cuda_runtime.h>

namespace prefixd::emu {

// Two blocks of 64 threads; `memory` has 256 words.
enum class Sharing {
  // Without a race.
  kOwnWords,
  kOwnHalves,  // Neighbours write the two halves of a word.
  kOwnBytes,
  kReadTogether,    // Everybody reads one word that nobody writes.
  kBarrierBetween,  // One writes, all read, one writes again.
  kWarpBarrierBetween,
  kAtomics,            // On one word, from everywhere.
  kAtomicThenBarrier,  // Atomics of a block, then a plain read of it.
  kStaticShared,       // Written, barrier, read.
  // With one.
  kEqualValues,  // Two threads write the same value to shared memory.
  kBlocksWrite,  // Both blocks write one word.
  kBlocksWriteAndRead,
  kShuffleBetween,        // A shuffle in place of __syncwarp.
  kPartialWarpBarrier,    // __syncwarp of half the lanes, read by the other half.
  kManyReadersOneWriter,  // Everybody reads, then one writes, no barrier.
  kLaneReadersOneWriter,  // The same within a warp.
  kAtomicAndRead,
  kStaticSharedNoBarrier,
  kReadBeyondShared,
  kReadBeyondGlobal,
};
cudaError_t LaunchSharing(Sharing sharing, unsigned* memory);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_RACE_KERNELS_H_
