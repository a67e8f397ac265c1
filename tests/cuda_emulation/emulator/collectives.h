// Shuffles and votes: what lanes of a warp tell each other.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_COLLECTIVES_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_COLLECTIVES_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "tests/cuda_emulation/emulator/grid.h"

namespace prefixd::emu {

// __syncwarp.
void WarpBarrier(uint32_t mask, Site site);

// Bit i: lane i is in mask and has `predicate`.
uint32_t Ballot(const char* name, uint32_t mask, bool predicate, Site site);

// The bits that lane `source` brings. Fault: `source` is not in mask.
uint64_t ShuffleBits(const char* name, uint32_t mask, uint64_t bits, int source, Site site);

template <typename T>
T Shuffle(const char* name, uint32_t mask, T value, int source, Site site) {
  static_assert(std::is_trivially_copyable_v<T>);
  static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = ShuffleBits(name, mask, bits, source, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_COLLECTIVES_H_
