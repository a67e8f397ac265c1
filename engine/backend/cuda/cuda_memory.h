// Memory of the device and pinned memory of the host.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_MEMORY_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/backend/cuda/cuda_health.h"
#include "engine/backend/cuda/cuda_queues.h"
#include "engine/backend/cuda/cuda_streams.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cuda {

// Allocates in the order of the compute stream: memory that is freed is used again only behind the
// work that the compute and the image stream had got by then. Must outlive its buffers.
//
// Threads: one caller at a time.
class DeviceMemory {
 public:
  enum class Content { kZero, kUndefined };

  // `recorded_freed` is called before an allocation that a graph has is freed.
  static absl::StatusOr<std::unique_ptr<DeviceMemory>> Create(int device, CudaHealth* health,
                                                              const CudaStreams* streams,
                                                              CudaQueues* queues,
                                                              std::function<void()> recorded_freed);
  ~DeviceMemory();

  // Aligned to 256 bytes. `what` names it in messages. Errors: RESOURCE_EXHAUSTED.
  absl::StatusOr<Buffer> Allocate(size_t size_bytes, Content content, absl::string_view what);

  // The stream of the current queue, for work on the allocations that hold these bytes: it is
  // behind the other queue's work on them. Null pointers are passed over.
  absl::StatusOr<cudaStream_t> Use(std::initializer_list<const void*> touched);

  // While a graph is captured, what is used is noted as recorded, and frees wait.
  void BeginRecording() { recording_ = true; }
  void EndRecording();
  bool recording() const { return recording_; }

  size_t used_bytes() const { return used_bytes_; }

 private:
  struct Allocation {
    size_t size_bytes = 0;
    int64_t image_turn = 0;  // The last turn of the image queue that touched it.
    bool recorded = false;   // A graph has its address.
  };

  DeviceMemory(CudaHealth* health, const CudaStreams* streams, CudaQueues* queues,
               std::function<void()> recorded_freed)
      : health_(health),
        streams_(streams),
        queues_(queues),
        recorded_freed_(std::move(recorded_freed)) {}

  // The allocation that holds the byte at `data`; null: none does.
  Allocation* Find(const void* data);
  void Free(std::byte* data);
  void Return(std::byte* data);

  CudaHealth* const health_;
  const CudaStreams* const streams_;
  CudaQueues* const queues_;
  const std::function<void()> recorded_freed_;
  std::map<const std::byte*, Allocation> allocations_;  // By their first byte.
  std::vector<std::byte*> held_;
  size_t used_bytes_ = 0;
  bool recording_ = false;
};

// Device memory that only grows; its content is lost then. Memory of the kind that ops need for
// themselves.
class Scratch {
 public:
  // At least `size_bytes`. Errors: RESOURCE_EXHAUSTED; it is empty then. FAILED_PRECONDITION if it
  // would have to grow while a graph is recorded.
  absl::StatusOr<std::byte*> Ensure(size_t size_bytes, DeviceMemory* memory);

 private:
  Buffer buffer_;
};

// Host memory that copies run from and to beside the host; plain memory where the system gives no
// pinned one. Move-only.
class PinnedBuffer {
 public:
  // Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<PinnedBuffer> Create(size_t size_bytes);

  PinnedBuffer() = default;
  PinnedBuffer(PinnedBuffer&& other) noexcept { *this = std::move(other); }
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_bytes_, other.size_bytes_);
    std::swap(pinned_, other.pinned_);
    return *this;
  }
  ~PinnedBuffer();

  std::byte* data() const { return data_; }
  size_t size_bytes() const { return size_bytes_; }

 private:
  std::byte* data_ = nullptr;
  size_t size_bytes_ = 0;
  bool pinned_ = false;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_MEMORY_H_
