// Tells the race detector, if it is on, what a kernel reads and writes.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ACCESS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ACCESS_H_

#include <cstddef>
#include <cstdint>

namespace prefixd::emu {

enum class Access : uint8_t { kRead, kWrite, kAtomic };

// Set by who links the hooks (race_hooks.cc), for the whole process.
extern bool race_detector_on;

// `code` is the address of the instruction, for reports. Fault: a race, or the bytes lie beside a
// buffer.
void NoteAccessSlow(const void* p, size_t bytes, Access access, const void* code);

inline void NoteAccess(const void* p, size_t bytes, Access access, const void* code) {
  if (race_detector_on) NoteAccessSlow(p, bytes, access, code);
}

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_ACCESS_H_
