// Bytes beside a buffer that nobody may touch. A write is found when the guard is looked at;
// AddressSanitizer finds any access at once.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_GUARDS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_GUARDS_H_

#include <algorithm>
#include <cstddef>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace prefixd::emu {

inline constexpr size_t kGuardBytes = 256;
inline constexpr unsigned char kGuardByte = 0xC5;

inline void CloseGuard(unsigned char* p, size_t bytes) {
  std::memset(p, kGuardByte, bytes);
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(p, bytes);
#endif
}

inline void OpenGuard(unsigned char* p, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(p, bytes);
#else
  static_cast<void>(p), static_cast<void>(bytes);
#endif
}

inline bool GuardHolds(const unsigned char* p, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  static_cast<void>(p), static_cast<void>(bytes);
  return true;
#else
  return std::all_of(p, p + bytes, [](unsigned char byte) { return byte == kGuardByte; });
#endif
}

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_GUARDS_H_
