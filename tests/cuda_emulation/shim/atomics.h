// Atomics of the CUDA language, with exactly the types that nvcc takes.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SHIM_ATOMICS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SHIM_ATOMICS_H_

#include <algorithm>

#include "tests/cuda_emulation/emulator/atomic_access.h"

#define PREFIXD_EMU_ATOMIC(name, T, expression)                                                   \
  __forceinline__ T name(T* p, T value) {                                                         \
    return ::prefixd::emu::AtomicAccess(                                                          \
        p, [value](T old) __attribute__((no_sanitize("undefined")))->T { return (expression); }); \
  }
#define PREFIXD_EMU_ATOMIC_INTEGERS(name, expression) \
  PREFIXD_EMU_ATOMIC(name, int, expression)           \
  PREFIXD_EMU_ATOMIC(name, unsigned, expression)      \
  PREFIXD_EMU_ATOMIC(name, unsigned long long, expression)

PREFIXD_EMU_ATOMIC_INTEGERS(atomicAdd, old + value)
PREFIXD_EMU_ATOMIC(atomicAdd, float, old + value)
PREFIXD_EMU_ATOMIC(atomicAdd, double, old + value)
PREFIXD_EMU_ATOMIC(atomicSub, int, old - value)
PREFIXD_EMU_ATOMIC(atomicSub, unsigned, old - value)
PREFIXD_EMU_ATOMIC_INTEGERS(atomicMax, std::max(old, value))
PREFIXD_EMU_ATOMIC(atomicMax, long long, std::max(old, value))
PREFIXD_EMU_ATOMIC_INTEGERS(atomicMin, std::min(old, value))
PREFIXD_EMU_ATOMIC(atomicMin, long long, std::min(old, value))
PREFIXD_EMU_ATOMIC_INTEGERS(atomicAnd, old& value)
PREFIXD_EMU_ATOMIC_INTEGERS(atomicOr, old | value)
PREFIXD_EMU_ATOMIC_INTEGERS(atomicXor, old ^ value)
PREFIXD_EMU_ATOMIC_INTEGERS(atomicExch, (static_cast<void>(old), value))
PREFIXD_EMU_ATOMIC(atomicExch, float, (static_cast<void>(old), value))
#undef PREFIXD_EMU_ATOMIC_INTEGERS
#undef PREFIXD_EMU_ATOMIC

#define PREFIXD_EMU_ATOMIC_CAS(T)                                      \
  __forceinline__ T atomicCAS(T* p, T expected, T value) {             \
    return ::prefixd::emu::AtomicAccess(                               \
        p, [=](T old) -> T { return old == expected ? value : old; }); \
  }
PREFIXD_EMU_ATOMIC_CAS(int)
PREFIXD_EMU_ATOMIC_CAS(unsigned)
PREFIXD_EMU_ATOMIC_CAS(unsigned long long)
#undef PREFIXD_EMU_ATOMIC_CAS

inline void __threadfence() {}
inline void __threadfence_block() {}

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SHIM_ATOMICS_H_
