#include "tests/cuda_emulation/emulator/stream.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/reports.h"

namespace prefixd::emu {
namespace {

// A device takes about a thousand launches before the host has to wait for it.
constexpr size_t kQueueLimit = 1024;

thread_local bool in_host_function = false;

std::vector<std::unique_ptr<CUstream_st>>& Streams() {
  static auto* streams = [] {
    auto* all = new std::vector<std::unique_ptr<CUstream_st>>;
    all->push_back(std::make_unique<CUstream_st>());  // The legacy stream.
    return all;
  }();
  return *streams;
}

double NowMs() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void Complete(const MarkerPtr& marker) {
  if (marker == nullptr || marker->done) return;
  marker->time_ms = NowMs();
  marker->done = true;
}

// False: the front cannot run yet, since a hung stream is in the way.
bool RunFront(CUstream_st* stream) {
  if (stream->hung) return false;
  if (const MarkerPtr awaited = stream->queue.front().wait_for; awaited != nullptr) {
    if (!RunTo(awaited)) return false;
    if (stream->queue.empty()) return true;  // The device was lost.
  }
  Work work = std::move(stream->queue.front());
  stream->queue.pop_front();
  if (work.run != nullptr && work.on_device) {
    OpenMemory open;
    work.run();
  } else if (work.run != nullptr) {
    MemoryArena::Get().CloseNow();
    in_host_function = true;
    work.run();
    in_host_function = false;
  }
  Complete(work.completes);
  return true;
}

// Late streams come some way on their own.
void MoveSome() {
  DeviceState& state = DeviceState::Get();
  if (state.options.mode != StreamMode::kLate || state.options.seed == 0) return;
  for (const auto& stream : Streams()) {
    if (state.random() % 4 != 0) continue;
    for (uint64_t steps = state.random() % 4; steps > 0 && !stream->queue.empty(); --steps) {
      if (!RunFront(stream.get())) break;
    }
  }
}

// The legacy stream and blocking streams wait for each other.
void AddLegacyWaits(CUstream_st* stream) {
  CUstream_st* const legacy = Streams().front().get();
  for (const auto& other : Streams()) {
    if (other.get() == stream || other->non_blocking || other->queue.empty()) continue;
    if (stream != legacy && other.get() != legacy) continue;
    stream->queue.push_back({.name = "legacy stream", .wait_for = MarkTail(other.get())});
  }
}

}  // namespace

bool InHostFunction() { return in_host_function; }

const std::vector<std::unique_ptr<CUstream_st>>& AllStreams() { return Streams(); }

CUstream_st* FindStream(cudaStream_t handle, const char* user) {
  if (handle == nullptr || handle == cudaStreamLegacy) return Streams().front().get();
  for (const auto& stream : Streams()) {
    if (stream.get() != handle) continue;
    if (!stream->destroyed) return handle;
    AddReport(absl::StrCat(user, ": the stream was destroyed"));
    return nullptr;
  }
  AddReport(absl::StrCat(user, ": no stream"));
  return nullptr;
}

MarkerPtr MarkTail(CUstream_st* stream) {
  if (stream->queue.empty()) {
    auto done = std::make_shared<Marker>();
    done->done = true;
    return done;
  }
  MarkerPtr& marker = stream->queue.back().completes;
  if (marker == nullptr) marker = std::make_shared<Marker>(Marker{.stream = stream});
  return marker;
}

cudaError_t Enqueue(CUstream_st* stream, Work work) {
  if (stream->capture != nullptr) return AddToCapture(stream, std::move(work));
  DeviceState& state = DeviceState::Get();
  if (!stream->non_blocking) {
    for (const auto& other : Streams()) {
      if (other->capture == nullptr || stream != Streams().front().get() || other->non_blocking) {
        continue;
      }
      other->capture->valid = false;
      return cudaErrorStreamCaptureImplicit;
    }
    AddLegacyWaits(stream);
  }
  if (work.completes != nullptr) work.completes->stream = stream;
  stream->queue.push_back(std::move(work));
  MoveSome();
  const size_t most = state.options.mode == StreamMode::kEager ? 0 : kQueueLimit;
  while (stream->queue.size() > most && RunFront(stream)) {
  }
  return state.lost;
}

bool RunTo(const MarkerPtr& marker) {
  OpenMemory open;
  while (!marker->done) {
    if (marker->stream->queue.empty()) return true;  // Dropped with the device.
    if (!RunFront(marker->stream)) return false;
  }
  return true;
}

bool RunAll(CUstream_st* stream) {
  OpenMemory open;
  while (!stream->queue.empty()) {
    if (!RunFront(stream)) return false;
  }
  return true;
}

bool RunSome(CUstream_st* stream) {
  DeviceState& state = DeviceState::Get();
  MoveSome();
  uint64_t steps = 1;
  if (state.options.seed != 0) steps += state.random() % 16;
  OpenMemory open;
  for (; steps > 0 && !stream->queue.empty(); --steps) {
    if (!RunFront(stream)) return false;
  }
  return true;
}

cudaError_t WaitFor(const std::function<bool()>& run, std::unique_lock<std::mutex>& lock) {
  DeviceState& state = DeviceState::Get();
  ++state.counters.synchronizations;
  MoveSome();
  const auto limit = std::chrono::steady_clock::now() +
                     std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                         std::chrono::duration<double>(state.options.hang_limit_s));
  while (state.lost == cudaSuccess && !run()) {
    if (state.released.wait_until(lock, limit) != std::cv_status::timeout) continue;
    AddReport("a wait for a hung stream has taken too long");
    LoseDevice(cudaErrorLaunchTimeout, /*by_report=*/true);
  }
  MemoryArena::Get().GuardsHold("at a synchronisation", /*quick=*/false);
  MemoryArena::Get().CloseNow();
  return state.lost;
}

cudaError_t SynchronizeAll(std::unique_lock<std::mutex>& lock) {
  return WaitFor(
      [] {
        for (size_t i = 0; i < Streams().size(); ++i) {
          if (!RunAll(Streams()[i].get())) return false;
        }
        return true;
      },
      lock);
}

bool IsHostRangePending(const void* data, size_t bytes) {
  const char* const begin = static_cast<const char*>(data);
  for (const auto& stream : Streams()) {
    for (const Work& work : stream->queue) {
      for (const HostRange& host : work.host) {
        const char* const other = static_cast<const char*>(host.data);
        if (other < begin + bytes && begin < other + host.bytes) return true;
      }
    }
  }
  return false;
}

void DropPending() {
  for (const auto& stream : Streams()) {
    for (const Work& work : stream->queue) Complete(work.completes);
    stream->queue.clear();
  }
}

CUstream_st* NewStream(bool non_blocking, int priority) {
  Streams().push_back(std::make_unique<CUstream_st>());
  Streams().back()->non_blocking = non_blocking;
  Streams().back()->priority = priority;
  return Streams().back().get();
}

void ForgetStreams() {
  Streams().resize(1);
  Streams().front()->hung = false;
  ForgetEvents();
}

void HangStream(cudaStream_t handle) {
  std::lock_guard<std::mutex> lock(DeviceState::Get().mutex);
  if (CUstream_st* stream = FindStream(handle, "HangStream"); stream != nullptr) {
    stream->hung = true;
  }
}

void ReleaseStreams() {
  DeviceState& state = DeviceState::Get();
  std::lock_guard<std::mutex> lock(state.mutex);
  for (const auto& stream : Streams()) stream->hung = false;
  if (state.options.mode == StreamMode::kEager) {
    for (const auto& stream : Streams()) RunAll(stream.get());
  }
  state.released.notify_all();
}

}  // namespace prefixd::emu
