// The seam between launches and streams.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RUNTIME_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RUNTIME_H_

#include <cstddef>
#include <functional>
#include <string>

#include "shim/runtime_api.h"
#include "shim/vectors.h"

namespace prefixd::emu {

// Gives the stream a grid to run; `body` is what each thread does. A bad configuration, or a fault
// where the grid runs at once, becomes the last error.
void EnqueueLaunch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, std::function<void()> body);

// What cudaGetLastError returns next.
void SetLastError(cudaError_t error);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_RUNTIME_H_
