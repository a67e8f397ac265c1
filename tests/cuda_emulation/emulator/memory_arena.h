// The memory of the emulated device: one range of addresses that is never handed out twice, with
// guards around every buffer, and the pinned buffers of the host. Callers hold the device's lock.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MEMORY_ARENA_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MEMORY_ARENA_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace prefixd::emu {

class MemoryArena {
 public:
  struct Buffer {
    size_t bytes = 0;
    uint64_t number = 0;  // The n-th allocation.
  };

  static MemoryArena& Get();

  // Null where the range of addresses is used up. Bytes > 0.
  void* Allocate(size_t bytes);
  // False, with a report, for what is no live buffer's start.
  bool Free(void* pointer);

  // Mapped pages of their own: a touch after free is a fault.
  void* AllocatePinned(size_t bytes);
  bool FreePinned(void* pointer);

  bool IsDevice(const void* pointer) const;
  // Whether the bytes lie in one live buffer. Else there is a report that names `user`.
  bool Check(const void* pointer, size_t bytes, const char* user) const;
  bool IsPinned(const void* pointer) const;
  // As Check, for a range that starts in pinned memory.
  bool CheckPinned(const void* pointer, size_t bytes, const char* user) const;

  // The live device buffer in whose zone an address lies; null: none.
  const std::pair<const uintptr_t, Buffer>* FindDevice(const void* pointer) const;

  // Reports guards that were written, and mends them. Quick: a guard's first bytes alone.
  bool GuardsHold(const std::string& when, bool quick);

  // Work of streams may touch device memory between Open and Close, which may be nested. Closing
  // takes time by the page: where there are many, memory stays open for some works, at most until
  // CloseNow.
  void Open();
  void Close();
  void CloseNow();
  void set_guard_from_host(bool on);

  size_t bytes_in_use() const { return bytes_in_use_; }
  size_t pinned_bytes() const { return pinned_bytes_; }
  std::vector<std::string> LiveBuffers() const;
  void FreeAll();

 private:
  using Buffers = std::map<uintptr_t, Buffer>;  // By start.

  MemoryArena();
  // The buffer in whose zone an address lies, or end().
  static Buffers::const_iterator Find(uintptr_t address, const Buffers& buffers);
  // What lies at an address, for reports.
  std::string Describe(uintptr_t address) const;
  bool GuardsHold(const std::string& when, const char* kind, uintptr_t start, const Buffer& buffer,
                  bool quick) const;
  void FreeZone(uintptr_t start, const Buffer& buffer);
  void Protect(int protection);
  void Reopen();

  uintptr_t begin_ = 0, end_ = 0, next_ = 0;
  Buffers live_, dead_, pinned_;
  std::vector<std::pair<uintptr_t, uintptr_t>> runs_;  // Zones of live_, neighbours merged.
  bool runs_valid_ = true;
  int64_t pages_ = 0;  // What opening or closing costs.
  int64_t not_closed_ = 0;
  int depth_ = 0;  // Of Open.
  bool open_ = false;
  bool guard_from_host_ = true;
  int poison_file_ = -1;
  uint64_t allocations_ = 0;
  size_t bytes_in_use_ = 0, pinned_bytes_ = 0;
};

// Opens device memory for a scope.
class OpenMemory {
 public:
  OpenMemory() { MemoryArena::Get().Open(); }
  ~OpenMemory() { MemoryArena::Get().Close(); }
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;
};

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MEMORY_ARENA_H_
