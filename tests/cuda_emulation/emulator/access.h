// Tells the race detector, if it is on, what a kernel reads and writes.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ACCESS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ACCESS_H_

#include <cstddef>

namespace prefixd::emu {

enum class Access { kRead, kWrite, kAtomic };

// Set by who links the hooks (race_hooks.cc), for the whole process.
extern bool race_detector_on;

void NoteAccessSlow(const void* p, size_t bytes, Access access);

inline void NoteAccess(const void* p, size_t bytes, Access access) {
  if (race_detector_on) NoteAccessSlow(p, bytes, access);
}

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ACCESS_H_
