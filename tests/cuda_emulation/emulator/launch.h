// From PREFIXD_LAUNCH to a grid: kernel and arguments are packed by value and handed to the stream.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_LAUNCH_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_LAUNCH_H_

#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>

#include "shim/runtime_api.h"
#include "shim/vectors.h"
#include "tests/cuda_emulation/emulator/runtime.h"

namespace prefixd::emu {

// What cudaFuncSetAttribute allowed the kernel; 48 KiB if nothing. Memory above that without the
// attribute is an error on a device, and a report here.
void AllowSharedMemory(const void* kernel, size_t bytes);
bool SharedMemoryIsAllowed(const void* kernel, size_t bytes);
// Records a report and makes the launch fail with cudaErrorInvalidValue.
void RefuseSharedMemory(const char* name, size_t bytes);

// Whether a device would take the launch; if not, there is a report.
bool CheckLaunch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes);

template <typename... Parameters, typename... Arguments>
void Launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            size_t shared_bytes, cudaStream_t stream, const Arguments&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "a kernel takes plain data");
  if (!SharedMemoryIsAllowed(reinterpret_cast<const void*>(kernel), shared_bytes)) {
    RefuseSharedMemory(name, shared_bytes);
    return;
  }
  const std::tuple<Parameters...> packed(arguments...);
  EnqueueLaunch(name, grid, block, shared_bytes, stream,
                [kernel, packed] { std::apply(kernel, packed); });
}

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_LAUNCH_H_
