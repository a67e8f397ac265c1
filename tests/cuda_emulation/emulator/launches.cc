// Launches on streams.
#include <utility>

#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/launch.h"
#include "tests/cuda_emulation/emulator/runtime.h"
#include "tests/cuda_emulation/emulator/stream.h"

namespace prefixd::emu {

cudaError_t EnqueueKernel(CUstream_st* stream, const char* name, std::function<bool()> run) {
  Faults& faults = DeviceState::Get().faults;
  if (Hits(faults.launch)) return cudaErrorInvalidConfiguration;
  if (Hits(faults.hang)) stream->hung = true;
  const bool loses = Hits(faults.device_lost);
  return Enqueue(stream, {.name = name, .run = [loses, run = std::move(run)] {
                            ++DeviceState::Get().counters.kernels_run;
                            if (loses) {
                              LoseDevice(cudaErrorIllegalAddress, /*by_report=*/false);
                            } else if (!run()) {
                              LoseDevice(cudaErrorLaunchFailure, /*by_report=*/true);
                            }
                          }});
}

void EnqueueLaunch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t handle, std::function<void()> body) {
  ApiCall call("a launch");
  if (call.refusal() != cudaSuccess) {
    call.Return(call.refusal());
    return;
  }
  CUstream_st* const stream = FindStream(handle, name.c_str());
  if (stream == nullptr) {
    call.Return(cudaErrorInvalidResourceHandle);
    return;
  }
  ++DeviceState::Get().counters.launches;
  if (!CheckLaunch(name, grid, block, shared_bytes)) {
    call.Return(cudaErrorInvalidConfiguration);
    return;
  }
  call.Return(EnqueueKernel(stream, "kernel", [=, body = std::move(body)] {
    return RunGrid(name, grid, block, shared_bytes, body);
  }));
}

}  // namespace prefixd::emu
