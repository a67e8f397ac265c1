#include "tests/cuda_emulation/emulator/device_state.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/runtime.h"
#include "tests/cuda_emulation/emulator/stream.h"

namespace prefixd::emu {

DeviceState& DeviceState::Get() {
  static DeviceState* state = new DeviceState;
  return *state;
}

bool Hits(int& countdown) { return countdown > 0 && --countdown == 0; }

void LoseDevice(cudaError_t error, bool by_report) {
  DeviceState& state = DeviceState::Get();
  if (state.lost != cudaSuccess) return;
  state.lost = state.last_error = error;
  state.lost_by_report = by_report;
  DropPending();
  state.released.notify_all();
}

void SetLastError(cudaError_t error) {
  ApiCall call("SetLastError", ApiCall::kOnLostDevice);
  call.Return(error);
}

ApiCall::ApiCall(const char* name, Rule rule) : name_(name) {
  if (InHostFunction()) {
    // The lock is held by the thread that runs the function: this one.
    AddReport(absl::StrCat(name, " was called from a host function of a stream"));
    refusal_ = cudaErrorNotPermitted;
    return;
  }
  lock_ = std::unique_lock<std::mutex>(DeviceState::Get().mutex);
  if (rule == kOnLostDevice) return;
  refusal_ = DeviceState::Get().lost;
  if (refusal_ == cudaSuccess && rule == kNotInCapture && IsForbiddenByCapture()) {
    InvalidateCaptures();
    refusal_ = Misuse(cudaErrorStreamCaptureUnsupported, "while a stream is captured");
  }
}

cudaError_t ApiCall::Return(cudaError_t error) {
  DeviceState& state = DeviceState::Get();
  if (state.lost != cudaSuccess) return state.lost;
  if (error != cudaSuccess) state.last_error = error;
  return error;
}

cudaError_t ApiCall::Misuse(cudaError_t error, const std::string& text) {
  AddReport(absl::StrCat(name_, ": ", text));
  return Return(error);
}

DeviceOptions GetDeviceOptions() {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  return DeviceState::Get().options;
}

void SetDeviceOptions(const DeviceOptions& options) {
  DeviceState& state = DeviceState::Get();
  std::lock_guard<std::mutex> lock(state.mutex);
  state.options = options;
  state.random.seed(options.seed);
  MemoryArena::Get().set_guard_from_host(options.guard_from_host);
}

void SetFaults(const Faults& faults) {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  DeviceState::Get().faults = faults;
}

Faults RemainingFaults() {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  return DeviceState::Get().faults;
}

Counters GetCounters() {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  Counters counters = DeviceState::Get().counters;
  counters.bytes_in_use = MemoryArena::Get().bytes_in_use();
  counters.pinned_bytes = MemoryArena::Get().pinned_bytes();
  return counters;
}

void ResetCounters() {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  DeviceState::Get().counters = {.peak_bytes = MemoryArena::Get().bytes_in_use()};
}

std::vector<std::string> LiveBuffers() {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  return MemoryArena::Get().LiveBuffers();
}

void ResetDevice() {
  DeviceState& state = DeviceState::Get();
  std::lock_guard<std::mutex> lock(state.mutex);
  DropPending();
  ForgetGraphs();
  ForgetWorkspaces();
  ForgetStreams();
  MemoryArena::Get().GuardsHold("at a reset", /*quick=*/false);
  MemoryArena::Get().FreeAll();
  state.options = {};
  state.faults = {};
  state.counters = {};
  state.last_error = state.lost = cudaSuccess;
  state.random.seed(0);
  MemoryArena::Get().set_guard_from_host(true);
}

void ForgiveLaunchFailures() {
  DeviceState& state = DeviceState::Get();
  std::lock_guard<std::mutex> lock(state.mutex);
  if (!state.lost_by_report) return;
  state.lost_by_report = false;
  state.lost = state.last_error = cudaSuccess;
}

void* AllocateDevice(size_t bytes) {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  void* const pointer = MemoryArena::Get().Allocate(bytes);
  PREFIXD_CHECK(pointer != nullptr);
  return pointer;
}

void FreeDevice(void* pointer) {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  for (const auto& stream : AllStreams()) RunAll(stream.get());
  MemoryArena::Get().Free(pointer);
}

void WriteDevice(void* to, const void* from, size_t bytes) {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  for (const auto& stream : AllStreams()) RunAll(stream.get());
  OpenMemory open;
  PREFIXD_CHECK(MemoryArena::Get().Check(to, bytes, "WriteDevice"));
  if (bytes > 0) std::memcpy(to, from, bytes);
}

void ReadDevice(void* to, const void* from, size_t bytes) {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  for (const auto& stream : AllStreams()) RunAll(stream.get());
  OpenMemory open;
  PREFIXD_CHECK(MemoryArena::Get().Check(from, bytes, "ReadDevice"));
  if (bytes > 0) std::memcpy(to, from, bytes);
}

}  // namespace prefixd::emu
