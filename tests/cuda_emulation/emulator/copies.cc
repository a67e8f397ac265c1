// Copies and fills of the runtime API.
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/stream.h"

namespace prefixd::emu {
namespace {

struct Block {  // `height` rows of `width` bytes.
  void* to;
  size_t to_pitch;
  const void* from;
  size_t from_pitch;
  size_t width;
  size_t height;
};

size_t Extent(size_t pitch, const Block& block) { return (block.height - 1) * pitch + block.width; }

void Move(const Block& block) {
  for (size_t row = 0; row < block.height; ++row) {
    std::memcpy(static_cast<char*>(block.to) + row * block.to_pitch,
                static_cast<const char*>(block.from) + row * block.from_pitch, block.width);
  }
}

std::vector<HostRange> Rows(const void* data, size_t pitch, const Block& block, bool written) {
  if (pitch == block.width) return {{data, Extent(pitch, block), written}};
  std::vector<HostRange> rows;
  for (size_t row = 0; row < block.height; ++row) {
    rows.push_back({static_cast<const char*>(data) + row * pitch, block.width, written});
  }
  return rows;
}

// The buffers may have gone since the call.
bool CheckAtRun(const void* pointer, size_t bytes, const char* what) {
  if (!MemoryArena::Get().IsDevice(pointer)) return true;
  if (MemoryArena::Get().Check(pointer, bytes, what)) return true;
  LoseDevice(cudaErrorIllegalAddress, /*by_report=*/true);
  return false;
}

cudaError_t CheckBlock(ApiCall& call, const Block& block, cudaMemcpyKind kind) {
  const MemoryArena& memory = MemoryArena::Get();
  if (block.width > block.to_pitch || block.width > block.from_pitch) {
    return call.Misuse(cudaErrorInvalidPitchValue, "rows are longer than the pitch");
  }
  const bool to_device = memory.IsDevice(block.to), from_device = memory.IsDevice(block.from);
  if (kind != cudaMemcpyDefault &&
      (to_device != (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) ||
       from_device != (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice))) {
    return call.Misuse(
        cudaErrorInvalidValue,
        absl::StrCat("direction ", static_cast<int>(kind), ", but from ",
                     from_device ? "device" : "host", " to ", to_device ? "device" : "host"));
  }
  const auto good = [&](const void* pointer, size_t pitch) {
    const size_t bytes = Extent(pitch, block);
    if (memory.IsDevice(pointer)) return memory.Check(pointer, bytes, call.name());
    return !memory.IsPinned(pointer) || memory.CheckPinned(pointer, bytes, call.name());
  };
  if (!good(block.to, block.to_pitch) || !good(block.from, block.from_pitch)) {
    return call.Return(cudaErrorInvalidValue);
  }
  const char* const to = static_cast<const char*>(block.to);
  const char* const from = static_cast<const char*>(block.from);
  if (block.height == 1 && to < from + block.width && from < to + block.width) {
    return call.Misuse(cudaErrorInvalidValue, "source and destination overlap");
  }
  return cudaSuccess;
}

void Count(bool to_device, bool from_device) {
  Counters& counters = DeviceState::Get().counters;
  if (to_device && from_device) {
    ++counters.copies_on_device;
  } else if (to_device) {
    ++counters.copies_to_device;
  } else if (from_device) {
    ++counters.copies_to_host;
  }
}

cudaError_t Copy(ApiCall& call, Block block, cudaMemcpyKind kind, cudaStream_t handle, bool wait) {
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (block.width == 0 || block.height == 0) return call.Return(cudaSuccess);
  if (const cudaError_t error = CheckBlock(call, block, kind); error != cudaSuccess) return error;
  const MemoryArena& memory = MemoryArena::Get();
  const bool to_device = memory.IsDevice(block.to), from_device = memory.IsDevice(block.from);
  const bool from_pageable = !from_device && !memory.IsPinned(block.from);
  const bool to_pageable = !to_device && !memory.IsPinned(block.to);
  if (stream->capture != nullptr && (from_pageable || to_pageable)) {
    stream->capture->valid = false;
    return call.Misuse(cudaErrorStreamCaptureUnsupported, "pageable memory in a capture");
  }
  Count(to_device, from_device);

  Work work = {.name = call.name()};
  if (from_pageable) {  // Staged: the source is read now.
    auto staged = std::make_shared<std::vector<char>>(block.width * block.height);
    Block to_staging = block;
    to_staging.to = staged->data();
    to_staging.to_pitch = block.width;
    Move(to_staging);
    block.from = staged->data();
    block.from_pitch = block.width;
    work.run = [staged, block] {
      if (CheckAtRun(block.to, Extent(block.to_pitch, block), "a copy's target")) Move(block);
    };
  } else {
    work.run = [block] {
      if (CheckAtRun(block.to, Extent(block.to_pitch, block), "a copy's target") &&
          CheckAtRun(block.from, Extent(block.from_pitch, block), "a copy's source")) {
        Move(block);
      }
    };
    if (!from_device) work.host = Rows(block.from, block.from_pitch, block, false);
  }
  if (!to_device) {
    for (const HostRange& host : Rows(block.to, block.to_pitch, block, true)) {
      if (stream->capture == nullptr) PoisonHostTarget(host);
      work.host.push_back(host);
    }
  }
  const cudaError_t error = Enqueue(stream, std::move(work));
  // A copy from pageable memory returns when it is staged; one into it when it has arrived.
  const bool waits = to_pageable || (wait && !(to_device && from_device));
  if (error != cudaSuccess || !waits) return call.Return(error);
  const MarkerPtr tail = MarkTail(stream);
  return call.Return(WaitFor([&] { return RunTo(tail); }, call.lock()));
}

cudaError_t Fill(ApiCall& call, void* pointer, size_t pitch, int value, size_t width, size_t height,
                 cudaStream_t handle) {
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (width == 0 || height == 0) return call.Return(cudaSuccess);
  if (width > pitch) {
    return call.Misuse(cudaErrorInvalidPitchValue, "rows are longer than the pitch");
  }
  const size_t bytes = (height - 1) * pitch + width;
  if (!MemoryArena::Get().Check(pointer, bytes, call.name())) {
    return call.Return(cudaErrorInvalidValue);
  }
  ++DeviceState::Get().counters.memsets;
  return call.Return(Enqueue(stream, {.name = call.name(), .run = [=] {
                                        if (!CheckAtRun(pointer, bytes, "a fill's target")) return;
                                        for (size_t row = 0; row < height; ++row) {
                                          std::memset(static_cast<char*>(pointer) + row * pitch,
                                                      value, width);
                                        }
                                      }}));
}

}  // namespace

void PoisonHostTarget(const HostRange& host) {
  // What is written before or read by work that is pending is not garbage yet.
  if (!host.written || IsHostRangePending(host.data, host.bytes)) return;
  std::memset(const_cast<void*>(host.data), 0xFF, host.bytes);
}

}  // namespace prefixd::emu

using prefixd::emu::ApiCall;

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  ApiCall call("cudaMemcpy", ApiCall::kNotInCapture);
  return prefixd::emu::Copy(call, {to, bytes, from, bytes, bytes, 1}, kind, nullptr, true);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  ApiCall call("cudaMemcpyAsync");
  return prefixd::emu::Copy(call, {to, bytes, from, bytes, bytes, 1}, kind, stream, false);
}

cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind) {
  ApiCall call("cudaMemcpy2D", ApiCall::kNotInCapture);
  return prefixd::emu::Copy(call, {to, to_pitch, from, from_pitch, width, height}, kind, nullptr,
                            true);
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  ApiCall call("cudaMemcpy2DAsync");
  return prefixd::emu::Copy(call, {to, to_pitch, from, from_pitch, width, height}, kind, stream,
                            false);
}

cudaError_t cudaMemset(void* pointer, int value, size_t bytes) {
  ApiCall call("cudaMemset", ApiCall::kNotInCapture);
  return prefixd::emu::Fill(call, pointer, bytes, value, bytes, 1, nullptr);
}

cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) {
  ApiCall call("cudaMemsetAsync");
  return prefixd::emu::Fill(call, pointer, bytes, value, bytes, 1, stream);
}

cudaError_t cudaMemset2DAsync(void* pointer, size_t pitch, int value, size_t width, size_t height,
                              cudaStream_t stream) {
  ApiCall call("cudaMemset2DAsync");
  return prefixd::emu::Fill(call, pointer, pitch, value, width, height, stream);
}
