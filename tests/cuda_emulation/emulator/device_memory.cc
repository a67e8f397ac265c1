#include "tests/cuda_emulation/emulator/device_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/guards.h"
#include "tests/cuda_emulation/emulator/reports.h"

namespace prefixd::emu {
namespace {

constexpr size_t kMostPoisoned = size_t{64} << 20;
constexpr size_t kMost = size_t{1} << 46;

struct Allocation {
  size_t bytes = 0;
  bool reported = false;
};

// By address.
std::map<uintptr_t, Allocation>& Allocations() {
  static auto* const allocations = new std::map<uintptr_t, Allocation>;
  return *allocations;
}

unsigned char* Pointer(uintptr_t address) { return reinterpret_cast<unsigned char*>(address); }

bool GuardsHold(uintptr_t begin, size_t bytes) {
  return GuardHolds(Pointer(begin) - kGuardBytes, kGuardBytes) &&
         GuardHolds(Pointer(begin) + bytes, kGuardBytes);
}

void ReportGuard(uintptr_t begin, Allocation* allocation, const std::string& after) {
  allocation->reported = true;
  const bool below = !GuardHolds(Pointer(begin) - kGuardBytes, kGuardBytes);
  AddReport(absl::StrCat(after, ": bytes were written ", below ? "below" : "beyond",
                         " a device buffer of ", allocation->bytes, " bytes"));
}

}  // namespace

void* AllocateDevice(size_t bytes) {
  if (bytes > kMost) return nullptr;
  const size_t total = (kGuardBytes + bytes + kGuardBytes + 255) / 256 * 256;
  void* memory = nullptr;
  if (bytes <= kMostPoisoned) {
    memory = std::aligned_alloc(256, total);
    if (memory == nullptr) return nullptr;
    std::memset(memory, 0xFF, total);
  } else {
    memory = mmap(nullptr, total, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return nullptr;
  }
  unsigned char* begin = static_cast<unsigned char*>(memory) + kGuardBytes;
  CloseGuard(begin - kGuardBytes, kGuardBytes);
  CloseGuard(begin + bytes, kGuardBytes);
  Allocations()[reinterpret_cast<uintptr_t>(begin)] = {bytes, false};
  return begin;
}

bool FreeDevice(void* p) {
  const auto found = Allocations().find(reinterpret_cast<uintptr_t>(p));
  if (found == Allocations().end()) {
    AddReport("a pointer is freed that is no device buffer");
    return false;
  }
  const size_t bytes = found->second.bytes;
  if (!found->second.reported && !GuardsHold(found->first, bytes)) {
    ReportGuard(found->first, &found->second, "at the end of a device buffer's life");
  }
  Allocations().erase(found);
  unsigned char* memory = static_cast<unsigned char*>(p) - kGuardBytes;
  const size_t total = (kGuardBytes + bytes + kGuardBytes + 255) / 256 * 256;
  OpenGuard(memory, total);
  if (bytes <= kMostPoisoned) {
    std::free(memory);
  } else {
    munmap(memory, total);
  }
  return true;
}

bool CheckDeviceGuards(const std::string& after) {
  bool all_hold = true;
  for (auto& [begin, allocation] : Allocations()) {
    if (allocation.reported || GuardsHold(begin, allocation.bytes)) continue;
    ReportGuard(begin, &allocation, after);
    all_hold = false;
  }
  return all_hold;
}

DevicePlace PlaceInDeviceMemory(const void* p, DeviceRange* range) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p);
  const auto& allocations = Allocations();
  auto above = allocations.upper_bound(address + kGuardBytes);
  if (above == allocations.begin()) return DevicePlace::kElsewhere;
  for (int i = 0; i < 2; ++i) {  // A guard below the next buffer, or the buffer itself.
    --above;
    const auto& [begin, allocation] = *above;
    if (address - (begin - kGuardBytes) < allocation.bytes + 2 * kGuardBytes) {
      if (range != nullptr) *range = {begin, allocation.bytes};
      return address - begin < allocation.bytes ? DevicePlace::kInside : DevicePlace::kGuard;
    }
    if (above == allocations.begin()) break;
  }
  return DevicePlace::kElsewhere;
}

size_t NumDeviceAllocations() { return Allocations().size(); }

}  // namespace prefixd::emu
