// Memory of the emulated device: ranges that the race detector watches, guarded at both ends.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_MEMORY_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace prefixd::emu {

// Aligned to 256 bytes, all 0xFF (NaN); larger than 64 MiB, zeros that take no memory until they
// are written. bytes may be 0. Null if memory lacks.
void* AllocateDevice(size_t bytes);

// Reports a broken guard. False (and a report) if p is no live allocation's beginning.
bool FreeDevice(void* p);

// Reports every live allocation whose guard was written, once. True if none was.
bool CheckDeviceGuards(const std::string& after);

enum class DevicePlace { kElsewhere, kInside, kGuard };
struct DeviceRange {
  uintptr_t begin = 0;
  size_t bytes = 0;
};
// `range` (may be null) gets the allocation.
DevicePlace PlaceInDeviceMemory(const void* p, DeviceRange* range);

// Allocations that live: what a test left behind.
size_t NumDeviceAllocations();

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_MEMORY_H_
