#include "tests/cuda_emulation/emulator/memory_arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/cuda_emulation/emulator/device_memory.h"
#include "tests/cuda_emulation/emulator/guards.h"
#include "tests/cuda_emulation/emulator/reports.h"

namespace prefixd::emu {
namespace {

constexpr size_t kReserved = size_t{1} << 40;
constexpr size_t kPage = 4096;
constexpr unsigned char kPoison = 0xFF;  // Floats are NaN.
// Buffers above this size get their poison from a file, mapped again and again: only pages that are
// touched take memory.
constexpr size_t kPoisonFileBytes = size_t{64} << 20;

constexpr int64_t kPagesPerMapping = 16;
// Memory of fewer pages is closed whenever the host goes on.
constexpr int64_t kPagesPerClose = 256;

uintptr_t ZoneBegin(uintptr_t start) { return start - kGuardBytes; }
uintptr_t ZoneEnd(uintptr_t start, size_t bytes) {
  return (start + bytes + kGuardBytes + kPage - 1) / kPage * kPage;
}
unsigned char* At(uintptr_t address) { return reinterpret_cast<unsigned char*>(address); }

void CloseGuards(uintptr_t start, size_t bytes) {
  CloseGuard(At(ZoneBegin(start)), kGuardBytes);
  CloseGuard(At(start + bytes), ZoneEnd(start, bytes) - start - bytes);
}

void OpenGuards(uintptr_t start, size_t bytes) {
  OpenGuard(At(ZoneBegin(start)), kGuardBytes);
  OpenGuard(At(start + bytes), ZoneEnd(start, bytes) - start - bytes);
}

// The first address in [begin, end) whose byte is not a guard's, or end. Reads what nobody else
// may.
__attribute__((noinline, no_sanitize("address"))) uintptr_t FirstBroken(uintptr_t begin,
                                                                        uintptr_t end) {
  constexpr uint64_t kEight = 0x0101010101010101 * uint64_t{kGuardByte};
  uintptr_t at = begin;
  while (at < end) {
    if (at % 8 == 0 && end - at >= 8 && *reinterpret_cast<const uint64_t*>(at) == kEight) {
      at += 8;
    } else if (*At(at) == kGuardByte) {
      ++at;
    } else {
      return at;
    }
  }
  return end;
}

}  // namespace

MemoryArena& MemoryArena::Get() {
  static MemoryArena* memory = new MemoryArena;
  return *memory;
}

MemoryArena::MemoryArena() {
  void* range =
      mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  PREFIXD_CHECK(range != MAP_FAILED);
  begin_ = next_ = reinterpret_cast<uintptr_t>(range);
  end_ = begin_ + kReserved;
}

void* MemoryArena::Allocate(size_t bytes) {
  if (bytes > end_ - next_) return nullptr;
  const uintptr_t start = next_ + kGuardBytes, zone_end = ZoneEnd(start, bytes);
  if (zone_end > end_) return nullptr;
  void* const zone = At(next_);
  const size_t zone_bytes = zone_end - next_;
  if (bytes <= kPoisonFileBytes) {
    PREFIXD_CHECK(mprotect(zone, zone_bytes, PROT_READ | PROT_WRITE) == 0);
    std::memset(At(start), kPoison, bytes);
  } else {
    if (poison_file_ < 0) {
      poison_file_ = memfd_create("poison", 0);
      const std::string poison(size_t{1} << 20, static_cast<char>(kPoison));
      for (size_t at = 0; at < kPoisonFileBytes; at += poison.size()) {
        PREFIXD_CHECK(write(poison_file_, poison.data(), poison.size()) ==
                      static_cast<ssize_t>(poison.size()));
      }
    }
    for (size_t at = 0; at < zone_bytes; at += kPoisonFileBytes) {
      PREFIXD_CHECK(mmap(At(next_ + at), std::min(kPoisonFileBytes, zone_bytes - at),
                         PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                         poison_file_, 0) != MAP_FAILED);
    }
  }
  CloseGuards(start, bytes);
  if (guard_from_host_ && !open_) PREFIXD_CHECK(mprotect(zone, zone_bytes, PROT_NONE) == 0);
  next_ = zone_end;
  live_[start] = {.bytes = bytes, .number = ++allocations_};
  runs_valid_ = false;
  bytes_in_use_ += bytes;
  return At(start);
}

void MemoryArena::FreeZone(uintptr_t start, const Buffer& buffer) {
  OpenGuards(start, buffer.bytes);
  PREFIXD_CHECK(mmap(At(ZoneBegin(start)), ZoneEnd(start, buffer.bytes) - ZoneBegin(start),
                     PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                     0) != MAP_FAILED);
}

bool MemoryArena::Free(void* pointer) {
  const uintptr_t start = reinterpret_cast<uintptr_t>(pointer);
  const auto at = live_.find(start);
  if (at == live_.end()) {
    AddReport(absl::StrCat("free of what is no device buffer: ", Describe(start)));
    return false;
  }
  {
    OpenMemory open;
    GuardsHold("at a free", "device", start, at->second, /*quick=*/false);
  }
  FreeZone(start, at->second);
  bytes_in_use_ -= at->second.bytes;
  dead_[start] = at->second;
  live_.erase(at);
  runs_valid_ = false;
  return true;
}

void* MemoryArena::AllocatePinned(size_t bytes) {
  const size_t zone_bytes = ZoneEnd(kGuardBytes, bytes);
  void* zone =
      mmap(nullptr, zone_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (zone == MAP_FAILED) return nullptr;
  const uintptr_t start = reinterpret_cast<uintptr_t>(zone) + kGuardBytes;
  std::memset(At(start), kPoison, bytes);
  CloseGuards(start, bytes);
  pinned_[start] = {.bytes = bytes, .number = ++allocations_};
  pinned_bytes_ += bytes;
  return At(start);
}

bool MemoryArena::FreePinned(void* pointer) {
  const uintptr_t start = reinterpret_cast<uintptr_t>(pointer);
  const auto at = pinned_.find(start);
  if (at == pinned_.end()) {
    AddReport(absl::StrCat("free of what is no pinned buffer: ", Describe(start)));
    return false;
  }
  GuardsHold("at a free", "pinned", start, at->second, /*quick=*/false);
  OpenGuards(start, at->second.bytes);
  munmap(At(ZoneBegin(start)), ZoneEnd(start, at->second.bytes) - ZoneBegin(start));
  pinned_bytes_ -= at->second.bytes;
  pinned_.erase(at);
  return true;
}

MemoryArena::Buffers::const_iterator MemoryArena::Find(uintptr_t address, const Buffers& buffers) {
  auto at = buffers.upper_bound(address + kGuardBytes);
  if (at == buffers.begin()) return buffers.end();
  --at;
  return address < ZoneEnd(at->first, at->second.bytes) ? at : buffers.end();
}

std::string MemoryArena::Describe(uintptr_t address) const {
  const auto text = [&](const char* kind, Buffers::const_iterator at) {
    return absl::StrCat("offset ", static_cast<int64_t>(address - at->first), " of ", kind,
                        " buffer ", at->second.number, " (", at->second.bytes, " bytes)");
  };
  if (const auto at = Find(address, live_); at != live_.end()) return text("device", at);
  if (const auto at = Find(address, dead_); at != dead_.end()) return text("freed device", at);
  if (const auto at = Find(address, pinned_); at != pinned_.end()) return text("pinned", at);
  if (address == 0) return "a null pointer";
  return absl::StrCat("address 0x", absl::Hex(address), ", in no buffer");
}

bool MemoryArena::IsDevice(const void* pointer) const {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  return address >= begin_ && address < end_;
}

bool MemoryArena::IsPinned(const void* pointer) const {
  return Find(reinterpret_cast<uintptr_t>(pointer), pinned_) != pinned_.end();
}

const std::pair<const uintptr_t, MemoryArena::Buffer>* MemoryArena::FindDevice(
    const void* pointer) const {
  const auto at = Find(reinterpret_cast<uintptr_t>(pointer), live_);
  return at == live_.end() ? nullptr : &*at;
}

bool MemoryArena::Check(const void* pointer, size_t bytes, const char* user) const {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  const auto at = Find(address, live_);
  if (at != live_.end() && address >= at->first && address - at->first <= at->second.bytes &&
      bytes <= at->second.bytes - (address - at->first)) {
    return true;
  }
  AddReport(absl::StrCat(user, ": ", bytes, " bytes at ", Describe(address)));
  return false;
}

bool MemoryArena::CheckPinned(const void* pointer, size_t bytes, const char* user) const {
  const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
  const auto at = Find(address, pinned_);
  if (at != pinned_.end() && address >= at->first && address - at->first <= at->second.bytes &&
      bytes <= at->second.bytes - (address - at->first)) {
    return true;
  }
  AddReport(absl::StrCat(user, ": ", bytes, " bytes at ", Describe(address)));
  return false;
}

bool MemoryArena::GuardsHold(const std::string& when, const char* kind, uintptr_t start,
                             const Buffer& buffer, bool quick) const {
  const uintptr_t end = start + buffer.bytes, zone_end = ZoneEnd(start, buffer.bytes);
  uintptr_t broken = FirstBroken(ZoneBegin(start), start);
  if (broken == start) {
    const uintptr_t last = quick ? end + kGuardBytes : zone_end;
    broken = FirstBroken(end, last);
    if (broken == last) return true;
  }
  AddReport(absl::StrCat(when, ": guard hit: a ", kind, " buffer of ", buffer.bytes,
                         " bytes (number ", buffer.number, ") was written at offset ",
                         static_cast<int64_t>(broken - start)));
  OpenGuards(start, buffer.bytes);
  CloseGuards(start, buffer.bytes);
  return false;
}

bool MemoryArena::GuardsHold(const std::string& when, bool quick) {
  OpenMemory open;
  bool hold = true;
  for (const auto& [start, buffer] : live_) {
    hold &= GuardsHold(when, "device", start, buffer, quick);
  }
  for (const auto& [start, buffer] : pinned_) {
    hold &= GuardsHold(when, "pinned", start, buffer, quick);
  }
  return hold;
}

void MemoryArena::Protect(int protection) {
  if (!runs_valid_) {
    runs_.clear();
    for (const auto& [start, buffer] : live_) {
      const uintptr_t begin = ZoneBegin(start), end = ZoneEnd(start, buffer.bytes);
      if (!runs_.empty() && runs_.back().second == begin) {
        runs_.back().second = end;
      } else {
        runs_.emplace_back(begin, end);
      }
    }
    runs_valid_ = true;
    pages_ = 0;
    for (const auto& [start, buffer] : live_) {
      pages_ += static_cast<int64_t>(buffer.bytes <= kPoisonFileBytes
                                         ? buffer.bytes / kPage
                                         : buffer.bytes / kPoisonFileBytes * kPagesPerMapping);
    }
  }
  for (const auto& [begin, end] : runs_) {
    PREFIXD_CHECK(mprotect(At(begin), end - begin, protection) == 0);
  }
}

void MemoryArena::Open() {
  ++depth_;
  Reopen();
}

void MemoryArena::Close() {
  if (--depth_ > 0 || ++not_closed_ * kPagesPerClose < pages_) return;
  CloseNow();
}

void MemoryArena::CloseNow() {
  if (open_ && guard_from_host_) Protect(PROT_NONE);
  open_ = false;
  not_closed_ = 0;
}

void MemoryArena::Reopen() {
  if (!open_ && guard_from_host_) Protect(PROT_READ | PROT_WRITE);
  open_ = true;
}

void MemoryArena::set_guard_from_host(bool on) {
  CloseNow();
  if (guard_from_host_ == on) return;
  guard_from_host_ = on;
  Protect(on ? PROT_NONE : PROT_READ | PROT_WRITE);
}

std::vector<std::string> MemoryArena::LiveBuffers() const {
  std::vector<std::string> lines;
  for (const auto& [start, buffer] : live_) {
    lines.push_back(absl::StrCat("device buffer ", buffer.number, ", ", buffer.bytes, " bytes"));
  }
  for (const auto& [start, buffer] : pinned_) {
    lines.push_back(absl::StrCat("pinned buffer ", buffer.number, ", ", buffer.bytes, " bytes"));
  }
  return lines;
}

void MemoryArena::FreeAll() {
  while (!pinned_.empty()) FreePinned(At(pinned_.begin()->first));
  for (const auto& [start, buffer] : live_) FreeZone(start, buffer);
  live_.clear();
  dead_.clear();
  runs_valid_ = false;
  bytes_in_use_ = 0;
  next_ = begin_;
  allocations_ = 0;
}

bool CheckDeviceGuards(const std::string& after) {
  return MemoryArena::Get().GuardsHold(after, /*quick=*/true);
}

DevicePlace PlaceInDeviceMemory(const void* p, DeviceRange* range) {
  const auto* buffer = MemoryArena::Get().FindDevice(p);
  if (buffer == nullptr) return DevicePlace::kElsewhere;
  const auto& [start, which] = *buffer;
  if (range != nullptr) *range = {start, which.bytes};
  return reinterpret_cast<uintptr_t>(p) - start < which.bytes ? DevicePlace::kInside
                                                              : DevicePlace::kGuard;
}

}  // namespace prefixd::emu
