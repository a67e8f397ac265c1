// Selection by likelihood within one block: four radix passes over the bits of a row's scores.
// Rules as in draw_block.h.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_SELECT_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_SELECT_H_

#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/draw_block.h"
#include "engine/backend/cuda/kernels/draw_math.h"

namespace prefixd::cuda::dev {

// Adds masses to the bins of one radix pass. Neighbours often share a bin: their sum is kept back
// until another bin comes.
class BinAdder {
 public:
  __device__ BinAdder(int copies, DrawMemory* memory)
      : memory_(memory), copies_(copies), copy_(static_cast<int>(threadIdx.x) % copies) {}

  __device__ __forceinline__ void Add(int bin, uint64_t mass) {
    if (bin != bin_) Flush();
    bin_ = bin;
    mass_ += mass;
  }
  __device__ __forceinline__ void Flush() {
    if (mass_ == 0) return;
    const uint32_t low = static_cast<uint32_t>(mass_);
    const int at = bin_ * copies_ + copy_;
    const uint32_t old = atomicAdd(&memory_->low[at], low);
    const uint32_t high = static_cast<uint32_t>(mass_ >> 32) + (old + low < old);
    if (high != 0) atomicAdd(&memory_->high[at], high);
    mass_ = 0;
  }

 private:
  DrawMemory* memory_;
  int copies_, copy_;
  int bin_ = 0;
  uint64_t mass_ = 0;
};

struct Selection {
  uint32_t key = 0;   // OrderedBits of the score in which the unit lies.
  uint64_t unit = 0;  // The unit's number within that score's mass.
  uint64_t mass = 0;  // That score's mass: of all ids that have it.
};

// As FindInIdOrder, with the masses laid out by descending score: four radix passes over the bits.
// mass_of(id, key). Requires: unit_of(total) < total < 2^63.
template <typename MassOf, typename UnitOf>
__device__ Selection SelectScore(const float* scores, int32_t cols, const MassOf& mass_of,
                                 const UnitOf& unit_of, DrawMemory* memory) {
  constexpr int kEach = kBins / 32;
  const int copies = static_cast<int>(blockDim.x) >= kBins ? kMaxBinCopies : 1;
  Selection selection;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < kBins * copies; i += blockDim.x) {
      memory->low[i] = memory->high[i] = 0;
    }
    __syncthreads();
    BinAdder bins(copies, memory);
    ForEachId(0, cols, [&](int32_t id) {
      const uint32_t key = OrderedBits(scores[id]);
      const bool still = shift == 24 || (key ^ selection.key) >> (shift + 8) == 0;
      if (still) bins.Add(key >> shift & (kBins - 1), mass_of(id, key));
    });
    bins.Flush();
    __syncthreads();
    for (int bin = threadIdx.x; bin < kBins; bin += blockDim.x) {
      uint64_t mass = 0;
      for (int i = bin * copies; i < (bin + 1) * copies; ++i) {
        mass += uint64_t{memory->high[i]} << 32 | memory->low[i];
      }
      memory->words[kBins - 1 - bin] = mass;  // Likeliest first.
    }
    __syncthreads();
    if (threadIdx.x < 32) {
      uint64_t masses[kEach], own = 0;
      PREFIXD_UNROLL for (int i = 0; i < kEach; ++i) {
        masses[i] = memory->words[threadIdx.x * kEach + i];
        own += masses[i];
      }
      const uint64_t total = WarpSum(own);
      WarpPick(masses, shift == 24 ? unit_of(total) : selection.unit, memory);
    }
    __syncthreads();
    selection.key |= static_cast<uint32_t>(kBins - 1 - memory->index) << shift;
    selection.unit = memory->unit;
    selection.mass = memory->mass;
  }
  return selection;
}

// The least Rank that holds `selection`: ids with its score are taken by ascending id, each with
// the mass `each`, up to the one in which its unit lies.
__device__ inline uint64_t LeastRank(const float* scores, int32_t cols, const Selection& selection,
                                     uint64_t each, DrawMemory* memory) {
  const uint64_t last = selection.unit / each;
  if ((last + 1) * each == selection.mass) return Rank(selection.key, ~0u);  // All of them.
  const int32_t id = FindInIdOrder(
      cols, [&](int32_t i) { return uint64_t{OrderedBits(scores[i]) == selection.key}; },
      [last](uint64_t) { return last; }, memory);
  return Rank(selection.key, static_cast<uint32_t>(id));
}

}  // namespace prefixd::cuda::dev

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_SELECT_H_
