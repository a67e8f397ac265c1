// Launches on streams.
#include <utility>

#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/grid.h"
#include "tests/cuda_emulation/emulator/launch.h"
#include "tests/cuda_emulation/emulator/runtime.h"
#include "tests/cuda_emulation/emulator/stream.h"

namespace prefixd::emu {

void EnqueueLaunch(const std::string& name, dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t handle, std::function<void()> body) {
  ApiCall call("a launch");
  if (call.refusal() != cudaSuccess) {
    call.Return(call.refusal());
    return;
  }
  DeviceState& state = DeviceState::Get();
  CUstream_st* const stream = FindStream(handle, name.c_str());
  if (stream == nullptr) {
    call.Return(cudaErrorInvalidResourceHandle);
    return;
  }
  ++state.counters.launches;
  if (Hits(state.faults.launch) || !CheckLaunch(name, grid, block, shared_bytes)) {
    call.Return(cudaErrorInvalidConfiguration);
    return;
  }
  if (Hits(state.faults.hang)) stream->hung = true;
  const bool loses = Hits(state.faults.device_lost);
  call.Return(Enqueue(stream, {.name = "kernel", .run = [=, body = std::move(body)] {
                                 ++DeviceState::Get().counters.kernels_run;
                                 if (loses) {
                                   LoseDevice(cudaErrorIllegalAddress, /*by_report=*/false);
                                 } else if (!RunGrid(name, grid, block, shared_bytes, body)) {
                                   LoseDevice(cudaErrorLaunchFailure, /*by_report=*/true);
                                 }
                               }}));
}

}  // namespace prefixd::emu
