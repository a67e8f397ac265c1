// Atomic operations on memory of the device.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ATOMIC_ACCESS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ATOMIC_ACCESS_H_

#include <cstddef>

namespace prefixd::emu {

// Checks alignment, tells the race detector, and in random order may let others go first.
void BeforeAtomic(const void* p, size_t bytes);

// Copies that the race detector does not see.
void CopyUnseen(void* to, const void* from, size_t bytes);

// *p = update(*p); returns what was there.
template <typename T, typename Update>
__attribute__((always_inline)) inline T AtomicAccess(T* p, Update update) {
  BeforeAtomic(p, sizeof(T));
  T old;
  CopyUnseen(&old, p, sizeof(T));
  const T changed = update(old);
  CopyUnseen(p, &changed, sizeof(T));
  return old;
}

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ATOMIC_ACCESS_H_
