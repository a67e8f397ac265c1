#include "tests/cuda_emulation/emulator/runtime.h"

#include <utility>

#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/launch.h"

namespace prefixd::emu {
namespace {

cudaError_t last_error = cudaSuccess;

}  // namespace

void SetLastError(cudaError_t error) { last_error = error; }

void EnqueueLaunch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t, std::function<void()> body) {
  if (!CheckLaunch(name, grid, block, shared_bytes)) {
    SetLastError(cudaErrorInvalidConfiguration);
  } else if (!RunGrid(name, grid, block, shared_bytes, body)) {
    SetLastError(cudaErrorLaunchFailure);
  }
}

}  // namespace prefixd::emu

cudaError_t cudaGetLastError() { return std::exchange(prefixd::emu::last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return prefixd::emu::last_error; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorNotSupported:
      return "cudaErrorNotSupported";
    case cudaErrorUnknown:
      return "cudaErrorUnknown";
  }
  return "unrecognized error";
}

const char* cudaGetErrorString(cudaError_t error) { return cudaGetErrorName(error); }

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute, int value) {
  if (value < 0 || value > 227 * 1024) return cudaErrorInvalidValue;
  prefixd::emu::AllowSharedMemory(kernel, static_cast<size_t>(value));
  return cudaSuccess;
}
