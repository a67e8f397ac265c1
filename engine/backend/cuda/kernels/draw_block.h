// What one block does with one row of float scores: reductions and scans in the order of ids. Every
// step is repeatable: sums of doubles have a fixed order, everything else is integer arithmetic,
// whose order does not matter.
//
// A block has whole warps, at most kMaxDrawThreads threads; all of them call each function with the
// same arguments but for their own values. A warp owns a contiguous segment of ids and its lanes
// stride over it, so a thread meets the same ids in every pass over a row. Functions that return a
// value for the block begin and end with a barrier: what threads wrote before is visible after.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_BLOCK_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_BLOCK_H_

#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/draw_math.h"

namespace prefixd::cuda::dev {

inline constexpr int kMaxDrawThreads = 1024;
inline constexpr unsigned kWholeWarp = 0xffffffffu;
inline constexpr int kBins = 256;        // Of one radix pass.
inline constexpr int kMaxBinCopies = 8;  // Lanes that meet in a bin would wait for each other.

// The block's shared memory.
struct DrawMemory {
  uint64_t words[kMaxDrawThreads];
  double sums[kMaxDrawThreads];
  uint32_t low[kBins * kMaxBinCopies];  // Masses by bin: 64 bits in two native atomics.
  uint32_t high[kBins * kMaxBinCopies];
  uint64_t word;  // Results of the latest step.
  double sum;
  uint64_t unit, mass;
  int32_t index;
};

// Threads for rows of `cols`; a function of `cols` alone, so results are too.
inline int DrawThreads(int64_t cols) {
  const int64_t threads = (cols / 4 + 31) / 32 * 32;
  return static_cast<int>(threads < 32                ? 32
                          : threads > kMaxDrawThreads ? kMaxDrawThreads
                                                      : threads);
}

__device__ __forceinline__ int32_t SegmentSize(int32_t count) {
  const int32_t warps = static_cast<int32_t>(blockDim.x) / 32;
  return ((count + warps - 1) / warps + 31) / 32 * 32;
}

// fn(id) for the thread's ids of [begin, end).
template <typename Fn>
__device__ __forceinline__ void ForEachId(int32_t begin, int32_t end, const Fn& fn) {
  const int32_t segment = SegmentSize(end - begin);
  const int32_t first = begin + static_cast<int32_t>(threadIdx.x) / 32 * segment;
  int32_t last = first + segment;
  if (last > end && !PREFIXD_KERNEL_BUG(kDrawTailNotMasked)) last = end;
  for (int32_t id = first + static_cast<int32_t>(threadIdx.x) % 32; id < last; id += 32) fn(id);
}

struct TakeMax {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct TakeSum {
  template <typename T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};

// `op` over the threads' values in an order that depends on the block's size alone.
template <typename T, typename Op>
__device__ T BlockReduce(T value, const Op& op, T* values, T* result) {
  values[threadIdx.x] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    for (unsigned i = threadIdx.x + 32; i < blockDim.x; i += 32) value = op(value, values[i]);
    for (int lanes = 16; lanes > 0; lanes /= 2) {
      value = op(value, __shfl_xor_sync(kWholeWarp, value, lanes));
    }
    if (threadIdx.x == 0) *result = value;
  }
  __syncthreads();
  return *result;
}

__device__ __forceinline__ uint64_t BlockMax(uint64_t value, DrawMemory* memory) {
  return BlockReduce(value, TakeMax{}, memory->words, &memory->word);
}
__device__ __forceinline__ uint64_t BlockSum(uint64_t value, DrawMemory* memory) {
  return BlockReduce(value, TakeSum{}, memory->words, &memory->word);
}
__device__ __forceinline__ double BlockSum(double value, DrawMemory* memory) {
  return BlockReduce(value, TakeSum{}, memory->sums, &memory->sum);
}

__device__ __forceinline__ uint64_t WarpSum(uint64_t value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kWholeWarp, value, lanes);
  return value;
}

// Finds which of 32 N masses, N in each lane in order, holds unit `unit` of their sum. Called by a
// whole warp; the lane that owns it writes index, its mass and the unit within it. Requires: unit
// is less than the sum.
template <int N>
__device__ void WarpPick(const uint64_t (&masses)[N], uint64_t unit, DrawMemory* memory) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  uint64_t own = 0;
  PREFIXD_UNROLL for (int i = 0; i < N; ++i) own += masses[i];
  uint64_t before = own;
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const uint64_t lower = __shfl_sync(kWholeWarp, before, (lane - lanes) & 31);
    if (lane >= lanes) before += lower;
  }
  before -= own;
  if (unit < before || unit - before >= own) return;
  PREFIXD_UNROLL for (int i = 0; i < N; ++i) {
    if (unit >= before && unit - before < masses[i]) {
      memory->index = lane * N + i;
      memory->mass = masses[i];
      memory->unit = unit - before;
    }
    before += masses[i];
  }
}

// The inverse of the distribution over ids < cols: the id in which unit unit_of(total) of the
// masses lies, laid out by ascending id. Requires: unit_of(total) < total.
template <typename MassOf, typename UnitOf>
__device__ int32_t FindInIdOrder(int32_t cols, const MassOf& mass_of, const UnitOf& unit_of,
                                 DrawMemory* memory) {
  constexpr int kEach = 8;  // Ids of a lane in the last step.
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  int32_t begin = 0, end = cols;
  uint64_t unit = 0;
  // The ids are shared out once, and then those of the warp that has the unit, until they are few.
  do {
    const int32_t segment = SegmentSize(end - begin);
    uint64_t own = 0;
    ForEachId(begin, end, [&](int32_t id) { own += mass_of(id); });
    memory->words[threadIdx.x] = own;
    if (!PREFIXD_KERNEL_BUG(kDrawScanWithoutBarrier)) __syncthreads();
    if (threadIdx.x < 32) {
      uint64_t warp_mass[1] = {0};
      for (int i = 0; i < 32 && lane < warps; ++i) {
        warp_mass[0] += memory->words[lane * 32 + (lane + i) % 32];  // No two lanes in one bank.
      }
      const uint64_t total = WarpSum(warp_mass[0]);
      WarpPick(warp_mass, end - begin == cols ? unit_of(total) : unit, memory);
    }
    __syncthreads();
    begin += memory->index * segment;
    end = min(begin + segment, end);
    unit = memory->unit;
  } while (end - begin > 32 * kEach);
  __syncthreads();
  if (threadIdx.x < 32) {
    uint64_t masses[kEach];
    PREFIXD_UNROLL for (int i = 0; i < kEach; ++i) {
      const int32_t id = begin + lane * kEach + i;
      masses[i] = id < end ? mass_of(id) : 0;
    }
    WarpPick(masses, unit, memory);
  }
  __syncthreads();
  return begin + memory->index;
}

}  // namespace prefixd::cuda::dev

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_BLOCK_H_
