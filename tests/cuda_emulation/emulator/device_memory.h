// What kernels and the race detector ask about device memory while a grid runs; they hold the
// device's lock. The memory itself: memory_arena.h.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_MEMORY_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace prefixd::emu {

// Reports every live buffer whose guard was written. True if none was.
bool CheckDeviceGuards(const std::string& after);

enum class DevicePlace { kElsewhere, kInside, kGuard };
struct DeviceRange {
  uintptr_t begin = 0;
  size_t bytes = 0;
};
// `range` (may be null) gets the buffer.
DevicePlace PlaceInDeviceMemory(const void* p, DeviceRange* range);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_DEVICE_MEMORY_H_
