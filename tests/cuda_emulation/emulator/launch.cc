#include "tests/cuda_emulation/emulator/launch.h"

#include <cstdint>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/shared_memory.h"

namespace prefixd::emu {
namespace {

constexpr size_t kWithoutAsking = 48 << 10;

std::unordered_map<const void*, size_t>& Allowed() {
  static auto* const allowed = new std::unordered_map<const void*, size_t>;
  return *allowed;
}

}  // namespace

void AllowSharedMemory(const void* kernel, size_t bytes) { Allowed()[kernel] = bytes; }

bool SharedMemoryIsAllowed(const void* kernel, size_t bytes) {
  if (bytes <= kWithoutAsking) return true;
  const auto allowed = Allowed().find(kernel);
  return allowed != Allowed().end() && bytes <= allowed->second;
}

void RefuseSharedMemory(const char* name, size_t bytes) {
  AddReport(absl::StrCat("kernel ", name, ": ", bytes,
                         " bytes of shared memory, more than AllowSharedMemory allowed"));
  SetLastError(cudaErrorInvalidValue);
}

bool CheckLaunch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const bool fits = block.x > 0 && block.y > 0 && block.z > 0 && threads <= 1024 &&
                    block.x <= 1024 && block.y <= 1024 && block.z <= 64 && grid.x > 0 &&
                    grid.y > 0 && grid.z > 0 && grid.x <= 0x7FFFFFFF && grid.y <= 0xFFFF &&
                    grid.z <= 0xFFFF && shared_bytes <= kMostSharedBytes;
  if (fits) return true;
  AddReport(absl::StrCat("kernel ", name, ": no device takes a grid of (", grid.x, ",", grid.y, ",",
                         grid.z, ") blocks of (", block.x, ",", block.y, ",", block.z,
                         ") threads with ", shared_bytes, " bytes of shared memory"));
  return false;
}

}  // namespace prefixd::emu
