// Allocation in the runtime API.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/cuda_emulation/emulator/device_state.h"
#include "tests/cuda_emulation/emulator/memory_arena.h"
#include "tests/cuda_emulation/emulator/stream.h"

namespace prefixd::emu {
namespace {

cudaError_t Allocate(ApiCall& call, void** pointer, size_t bytes) {
  DeviceState& state = DeviceState::Get();
  MemoryArena& memory = MemoryArena::Get();
  *pointer = nullptr;
  if (bytes == 0) return call.Return(cudaSuccess);
  if (Hits(state.faults.allocation)) return call.Return(cudaErrorMemoryAllocation);
  const auto fits = [&] {
    return memory.bytes_in_use() <= state.options.total_memory &&
           bytes <= state.options.total_memory - memory.bytes_in_use();
  };
  // Memory may come back from frees that are pending.
  if (!fits() && SynchronizeAll(call.lock()) != cudaSuccess) return call.Return(state.lost);
  if (fits()) *pointer = memory.Allocate(bytes);
  if (*pointer == nullptr) return call.Return(cudaErrorMemoryAllocation);
  ++state.counters.allocations;
  state.counters.peak_bytes = std::max<uint64_t>(state.counters.peak_bytes, memory.bytes_in_use());
  return call.Return(cudaSuccess);
}

cudaError_t AllocatePinned(ApiCall& call, void** pointer, size_t bytes) {
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  DeviceState& state = DeviceState::Get();
  *pointer = nullptr;
  if (bytes == 0) return call.Return(cudaSuccess);
  if (!Hits(state.faults.pinned_allocation)) {
    *pointer = MemoryArena::Get().AllocatePinned(bytes);
  }
  if (*pointer == nullptr) return call.Return(cudaErrorMemoryAllocation);
  ++state.counters.pinned_allocations;
  return call.Return(cudaSuccess);
}

}  // namespace
}  // namespace prefixd::emu

using prefixd::emu::ApiCall;
using prefixd::emu::DeviceState;
using prefixd::emu::MemoryArena;

cudaError_t cudaMalloc(void** pointer, size_t bytes) {
  ApiCall call("cudaMalloc", ApiCall::kNotInCapture);
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  return prefixd::emu::Allocate(call, pointer, bytes);
}

cudaError_t cudaFree(void* pointer) {
  ApiCall call("cudaFree", ApiCall::kOnLostDevice);
  if (prefixd::emu::IsForbiddenByCapture()) {
    prefixd::emu::InvalidateCaptures();
    return call.Misuse(cudaErrorStreamCaptureUnsupported, "while a stream is captured");
  }
  if (pointer == nullptr) return call.Return(cudaSuccess);
  // What is pending may use the buffer: CUDA waits for it.
  prefixd::emu::SynchronizeAll(call.lock());
  const bool freed = MemoryArena::Get().Free(pointer);
  return call.Return(freed ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMallocAsync(void** pointer, size_t bytes, cudaStream_t handle) {
  ApiCall call("cudaMallocAsync");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) {
    stream->capture->valid = false;
    return call.Misuse(cudaErrorStreamCaptureUnsupported, "memory nodes are not emulated");
  }
  return prefixd::emu::Allocate(call, pointer, bytes);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  ApiCall call("cudaDeviceGetDefaultMemPool");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  *pool = nullptr;
  return call.Return(cudaSuccess);
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  ApiCall call("cudaMemPoolSetAttribute");
  return call.Return(call.refusal());
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t handle) {
  ApiCall call("cudaFreeAsync", ApiCall::kOnLostDevice);
  CUstream_st* const stream = prefixd::emu::FindStream(handle, call.name());
  if (stream == nullptr) return call.Return(cudaErrorInvalidResourceHandle);
  if (pointer == nullptr) return call.Return(cudaSuccess);
  if (stream->capture != nullptr) {
    stream->capture->valid = false;
    return call.Misuse(cudaErrorStreamCaptureUnsupported, "memory nodes are not emulated");
  }
  if (!MemoryArena::Get().Check(pointer, 1, call.name())) {
    return call.Return(cudaErrorInvalidValue);
  }
  if (DeviceState::Get().lost != cudaSuccess) {
    MemoryArena::Get().Free(pointer);
    return call.Return(cudaSuccess);
  }
  return call.Return(prefixd::emu::Enqueue(
      stream, {.name = call.name(), .run = [=] { MemoryArena::Get().Free(pointer); }}));
}

cudaError_t cudaMallocHost(void** pointer, size_t bytes) {
  ApiCall call("cudaMallocHost", ApiCall::kNotInCapture);
  return prefixd::emu::AllocatePinned(call, pointer, bytes);
}

cudaError_t cudaHostAlloc(void** pointer, size_t bytes, unsigned int flags) {
  ApiCall call("cudaHostAlloc", ApiCall::kNotInCapture);
  if (flags > (cudaHostAllocPortable | cudaHostAllocMapped | cudaHostAllocWriteCombined)) {
    return call.Misuse(cudaErrorInvalidValue, "unknown flags");
  }
  return prefixd::emu::AllocatePinned(call, pointer, bytes);
}

cudaError_t cudaFreeHost(void* pointer) {
  ApiCall call("cudaFreeHost", ApiCall::kOnLostDevice);
  if (pointer == nullptr) return call.Return(cudaSuccess);
  if (prefixd::emu::IsHostRangePending(pointer, 1)) {
    call.Misuse(cudaErrorInvalidValue, "work that is pending uses the buffer");
    prefixd::emu::SynchronizeAll(call.lock());
  }
  const bool freed = MemoryArena::Get().FreePinned(pointer);
  return call.Return(freed ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  ApiCall call("cudaMemGetInfo");
  if (call.refusal() != cudaSuccess) return call.Return(call.refusal());
  const size_t used = MemoryArena::Get().bytes_in_use();
  *total = DeviceState::Get().options.total_memory;
  *free = *total - std::min(*total, used);
  return cudaSuccess;
}
