// Atomic operations on memory of the device.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ATOMIC_ACCESS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ATOMIC_ACCESS_H_

#include <cstddef>

namespace prefixd::emu {

// Checks alignment, tells the race detector, and in random order may let others go first.
void BeforeAtomic(const void* p, size_t bytes);

// *p = update(*p); returns what was there.
template <typename T, typename Update>
__attribute__((no_sanitize("thread"))) T AtomicAccess(T* p, Update update) {
  BeforeAtomic(p, sizeof(T));
  const T old = *p;
  *p = update(old);
  return old;
}

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ATOMIC_ACCESS_H_
