// What kernels call that needs nothing of the block but its threads.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/access.h"
#include "tests/cuda_emulation/emulator/atomic_access.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/shared_memory.h"

namespace prefixd::emu {

unsigned char* DynamicSharedMemory() { return SharedMemoryBegin(); }

bool IsShared(const void* p, size_t bytes) {
  const unsigned char* begin = static_cast<const unsigned char*>(p);
  const SharedPlace place = PlaceInSharedMemory(begin);
#if defined(__SANITIZE_ADDRESS__)
  if (place == SharedPlace::kElsewhere) return true;  // Static: nobody knows where those lie.
#endif
  return (place == SharedPlace::kDynamic || place == SharedPlace::kStatic) &&
         PlaceInSharedMemory(begin + bytes - 1) == place;
}

void RecordFault(const std::string& what) {
  const Thread& thread = *current_thread;
  RecordBlockFault(absl::StrCat("thread ", thread.rank, " (", thread.index.x, ",", thread.index.y,
                                ",", thread.index.z, "): ", what));
}

void AbandonThread() {
  current_thread->fiber.Suspend(/*for_ever=*/false);  // Never resumed: the grid has failed.
  std::abort();
}

void CheckAligned16(const void* p, const char* what) {
  if (reinterpret_cast<uintptr_t>(p) % 16 == 0) return;
  Fault([&] { return absl::StrCat(what, ": an address that is not a multiple of 16"); });
}

void CopyUnseen(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

void BeforeAtomic(const void* p, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) {
    Fault([&] {
      return absl::StrCat("an atomic of ", bytes, " bytes at an address that is not a multiple");
    });
  }
  MaybeYield();
  NoteAccess(p, bytes, Access::kAtomic, __builtin_return_address(0));
}

}  // namespace prefixd::emu
