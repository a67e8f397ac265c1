#include "tests/cuda_emulation/emulator/shared_memory.h"

#include <cstring>

#include "tests/cuda_emulation/emulator/guards.h"

// Set by the linker where a section of this name exists; see __shared__ in shim/cuda_runtime.h.
extern "C" {
extern unsigned char __start_prefixd_shared[] __attribute__((weak));
extern unsigned char __stop_prefixd_shared[] __attribute__((weak));
}

namespace prefixd::emu {
namespace {

alignas(256) unsigned char arena[kGuardBytes + kMostSharedBytes + kGuardBytes];
size_t dynamic_bytes = 0;

}  // namespace

unsigned char* SharedMemoryBegin() { return arena + kGuardBytes; }
size_t SharedMemoryBytes() { return dynamic_bytes; }

unsigned char* StaticSharedBegin() { return __start_prefixd_shared; }
size_t StaticSharedBytes() {
  // Through integers: the compiler would take the two arrays for different objects.
  return reinterpret_cast<uintptr_t>(__stop_prefixd_shared) -
         reinterpret_cast<uintptr_t>(__start_prefixd_shared);
}

void ResetSharedMemory(size_t bytes) {
  unsigned char* begin = SharedMemoryBegin();
  if (bytes != dynamic_bytes || begin[-1] != kGuardByte) {
    OpenGuard(arena, sizeof(arena));
    dynamic_bytes = bytes;
    CloseGuard(begin - kGuardBytes, kGuardBytes);
    CloseGuard(begin + bytes, kGuardBytes);
  }
  std::memset(begin, 0xFF, bytes);
  if (StaticSharedBytes() > 0) std::memset(StaticSharedBegin(), 0xFF, StaticSharedBytes());
}

SharedPlace PlaceInSharedMemory(const void* p) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  const uintptr_t begin = reinterpret_cast<uintptr_t>(SharedMemoryBegin());
  if (address - begin < dynamic_bytes) return SharedPlace::kDynamic;
  if (address - reinterpret_cast<uintptr_t>(arena) < sizeof(arena)) return SharedPlace::kGuard;
  if (address - reinterpret_cast<uintptr_t>(StaticSharedBegin()) < StaticSharedBytes()) {
    return SharedPlace::kStatic;
  }
  return SharedPlace::kElsewhere;
}

bool SharedGuardsHold() {
  const unsigned char* begin = SharedMemoryBegin();
  return GuardHolds(begin - kGuardBytes, kGuardBytes) &&
         GuardHolds(begin + dynamic_bytes, kGuardBytes);
}

}  // namespace prefixd::emu
