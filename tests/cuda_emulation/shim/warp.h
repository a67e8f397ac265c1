// Barriers, shuffles and votes of the CUDA language.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SHIM_WARP_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SHIM_WARP_H_

#include "tests/cuda_emulation/emulator/collectives.h"

#define PREFIXD_EMU_SITE ::prefixd::emu::Site site = ::prefixd::emu::Site::Here()

inline void __syncthreads(PREFIXD_EMU_SITE) { ::prefixd::emu::BlockBarrier(site); }

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, PREFIXD_EMU_SITE) {
  ::prefixd::emu::WarpBarrier(mask, site);
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, PREFIXD_EMU_SITE) {
  const int lane = ::prefixd::emu::Lane();
  return ::prefixd::emu::Shuffle("__shfl_sync", mask, value,
                                 (lane & ~(width - 1)) + (source & (width - 1)), site);
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, PREFIXD_EMU_SITE) {
  const int lane = ::prefixd::emu::Lane(), source = lane ^ bits;
  return ::prefixd::emu::Shuffle("__shfl_xor_sync", mask, value,
                                 source / width > lane / width ? lane : source, site);
}

template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, PREFIXD_EMU_SITE) {
  const int lane = ::prefixd::emu::Lane(), source = lane + static_cast<int>(delta);
  return ::prefixd::emu::Shuffle("__shfl_down_sync", mask, value,
                                 source / width != lane / width ? lane : source, site);
}

template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, PREFIXD_EMU_SITE) {
  const int lane = ::prefixd::emu::Lane(), source = lane - static_cast<int>(delta);
  return ::prefixd::emu::Shuffle("__shfl_up_sync", mask, value,
                                 source < (lane & ~(width - 1)) ? lane : source, site);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, PREFIXD_EMU_SITE) {
  return ::prefixd::emu::Ballot("__ballot_sync", mask, predicate != 0, site);
}

inline int __any_sync(unsigned mask, int predicate, PREFIXD_EMU_SITE) {
  return ::prefixd::emu::Ballot("__any_sync", mask, predicate != 0, site) != 0;
}

inline int __all_sync(unsigned mask, int predicate, PREFIXD_EMU_SITE) {
  return ::prefixd::emu::Ballot("__all_sync", mask, predicate != 0, site) == mask;
}

#undef PREFIXD_EMU_SITE

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SHIM_WARP_H_
