// Kernels of race tests are compiled with -fsanitize=thread and linked with these functions in
// place of the compiler's library: they turn every access into NoteAccessSlow.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/grid.h"

namespace prefixd::emu {
namespace {

[[maybe_unused]] const bool switched_on = [] { return race_detector_on = true; }();

inline void Note(const void* p, size_t bytes, Access access, const void* code) {
  if (current_thread != nullptr) NoteAccessSlow(p, bytes, access, code);
}

// An access whose type promises the alignment.
inline void NoteAligned(const void* p, size_t bytes, Access access, const void* code) {
  if (current_thread == nullptr) return;
  if (bytes == 16) CheckAligned16(p, "an access of 16 bytes");
  NoteAccessSlow(p, bytes, access, code);
}

}  // namespace
}  // namespace prefixd::emu

using prefixd::emu::Access;

#define PREFIXD_EMU_CODE __builtin_return_address(0)
#define PREFIXD_EMU_HOOK(name, bytes, access, note)                 \
  extern "C" void __tsan_##name##bytes(void* p) {                   \
    prefixd::emu::note(p, bytes, Access::access, PREFIXD_EMU_CODE); \
  }
#define PREFIXD_EMU_HOOKS(bytes)                    \
  PREFIXD_EMU_HOOK(read, bytes, kRead, NoteAligned) \
  PREFIXD_EMU_HOOK(write, bytes, kWrite, NoteAligned)
#define PREFIXD_EMU_UNALIGNED(bytes)                   \
  PREFIXD_EMU_HOOK(unaligned_read, bytes, kRead, Note) \
  PREFIXD_EMU_HOOK(unaligned_write, bytes, kWrite, Note)

PREFIXD_EMU_HOOKS(1)
PREFIXD_EMU_HOOKS(2)
PREFIXD_EMU_HOOKS(4)
PREFIXD_EMU_HOOKS(8)
PREFIXD_EMU_HOOKS(16)
PREFIXD_EMU_UNALIGNED(2)
PREFIXD_EMU_UNALIGNED(4)
PREFIXD_EMU_UNALIGNED(8)
PREFIXD_EMU_UNALIGNED(16)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}

void __tsan_read_range(void* p, size_t bytes) {
  prefixd::emu::Note(p, bytes, Access::kRead, PREFIXD_EMU_CODE);
}
void __tsan_write_range(void* p, size_t bytes) {
  prefixd::emu::Note(p, bytes, Access::kWrite, PREFIXD_EMU_CODE);
}
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  prefixd::emu::Note(from, bytes, Access::kRead, PREFIXD_EMU_CODE);
  prefixd::emu::Note(to, bytes, Access::kWrite, PREFIXD_EMU_CODE);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  prefixd::emu::Note(from, bytes, Access::kRead, PREFIXD_EMU_CODE);
  prefixd::emu::Note(to, bytes, Access::kWrite, PREFIXD_EMU_CODE);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* to, int value, size_t bytes) {
  prefixd::emu::Note(to, bytes, Access::kWrite, PREFIXD_EMU_CODE);
  return std::memset(to, value, bytes);
}

// Guards of static variables in the launchers; kernels use the atomics of shim/atomics.h.
unsigned char __tsan_atomic8_load(const volatile unsigned char* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
unsigned __tsan_atomic32_load(const volatile unsigned* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
unsigned long __tsan_atomic64_load(const volatile unsigned long* p, int) {
  return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}
void __tsan_atomic8_store(volatile unsigned char* p, unsigned char value, int) {
  __atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}
void __tsan_atomic32_store(volatile unsigned* p, unsigned value, int) {
  __atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}
void __tsan_atomic64_store(volatile unsigned long* p, unsigned long value, int) {
  __atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}

}  // extern "C"
