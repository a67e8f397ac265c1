#include "engine/backend/cuda/cuda_memory.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace prefixd::cuda {
namespace {

constexpr uint64_t kKeptBytes = uint64_t{256} << 20;

}  // namespace

absl::StatusOr<std::unique_ptr<DeviceMemory>> DeviceMemory::Create(
    int device, CudaHealth* health, const CudaStreams* streams, CudaQueues* queues,
    std::function<void()> recorded_freed) {
  // Otherwise every wait gives freed memory back to the system, which takes long to get it again.
  cudaMemPool_t pool = nullptr;
  uint64_t kept_bytes = kKeptBytes;
  PREFIXD_RETURN_IF_ERROR(
      health->Check(cudaDeviceGetDefaultMemPool(&pool, device), "asking for the memory pool"));
  PREFIXD_RETURN_IF_ERROR(
      health->Check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept_bytes),
                    "setting up the memory pool"));
  return std::unique_ptr<DeviceMemory>(
      new DeviceMemory(health, streams, queues, std::move(recorded_freed)));
}

DeviceMemory::~DeviceMemory() { EndRecording(); }

absl::StatusOr<Buffer> DeviceMemory::Allocate(size_t size_bytes, Content content,
                                              absl::string_view what) {
  PREFIXD_RETURN_IF_ERROR(health_->status());
  const size_t allocated = std::max<size_t>(size_bytes, 16);
  void* data = nullptr;
  const absl::Status status =
      health_->Check(cudaMallocAsync(&data, allocated, streams_->compute()),
                     absl::StrCat("allocating ", size_bytes, " bytes for ", what));
  if (!status.ok()) return status;
  const Buffer::Free free = [](void* context, std::byte* memory, size_t) {
    static_cast<DeviceMemory*>(context)->Free(memory);
  };
  auto* const bytes = static_cast<std::byte*>(data);
  allocations_[bytes].size_bytes = allocated;
  used_bytes_ += allocated;
  Buffer buffer(bytes, size_bytes, free, this);
  if (content == Content::kZero) {
    PREFIXD_RETURN_IF_ERROR(
        health_->Check(cudaMemsetAsync(data, 0, allocated, streams_->compute()), "zeroing memory"));
  }
  if (queues_->is_image()) PREFIXD_RETURN_IF_ERROR(queues_->ImageWaitsForMain());
  return buffer;
}

DeviceMemory::Allocation* DeviceMemory::Find(const void* data) {
  const auto* const byte = static_cast<const std::byte*>(data);
  auto it = allocations_.upper_bound(byte);
  if (it == allocations_.begin()) return nullptr;
  --it;
  return byte < it->first + it->second.size_bytes ? &it->second : nullptr;
}

absl::StatusOr<cudaStream_t> DeviceMemory::Use(std::initializer_list<const void*> touched) {
  PREFIXD_RETURN_IF_ERROR(health_->status());
  for (const void* const data : touched) {
    Allocation* const allocation = Find(data);
    if (allocation == nullptr) continue;
    allocation->recorded |= recording_;
    if (queues_->is_image()) {
      allocation->image_turn = queues_->image_turn();
    } else if (!queues_->MainWaitedFor(allocation->image_turn)) {
      PREFIXD_RETURN_IF_ERROR(queues_->MainWaitsForImage());
    }
  }
  return queues_->current();
}

void DeviceMemory::Free(std::byte* data) {
  const auto it = allocations_.find(data);
  if (it->second.recorded) recorded_freed_();
  used_bytes_ -= it->second.size_bytes;
  allocations_.erase(it);
  if (recording_) {
    held_.push_back(data);
  } else {
    Return(data);
  }
}

// Nothing is to be done about errors here: a lost device fails the next call.
void DeviceMemory::Return(std::byte* data) {
  if (!queues_->image_done()) (void)queues_->MainWaitsForImage();
  (void)health_->Check(cudaFreeAsync(data, streams_->compute()), "freeing memory");
}

void DeviceMemory::EndRecording() {
  recording_ = false;
  for (std::byte* const data : std::exchange(held_, {})) Return(data);
}

absl::StatusOr<std::byte*> Scratch::Ensure(size_t size_bytes, DeviceMemory* memory) {
  if (buffer_.size_bytes() < size_bytes) {
    if (memory->recording()) {
      return absl::FailedPreconditionError("a recorded pass needs more memory than the one before");
    }
    buffer_ = Buffer();
    PREFIXD_ASSIGN_OR_RETURN(
        buffer_, memory->Allocate(size_bytes, DeviceMemory::Content::kUndefined, "scratch"));
  }
  return buffer_.data();
}

absl::StatusOr<PinnedBuffer> PinnedBuffer::Create(size_t size_bytes) {
  PinnedBuffer buffer;
  void* data = nullptr;
  buffer.pinned_ = cudaMallocHost(&data, size_bytes) == cudaSuccess;
  if (!buffer.pinned_) {
    cudaGetLastError();  // Not an error: plain memory does, only slower.
    data = std::calloc(std::max<size_t>(size_bytes, 1), 1);
    if (data == nullptr) {
      return absl::ResourceExhaustedError(
          absl::StrCat("cannot allocate ", size_bytes, " bytes of host memory"));
    }
  }
  buffer.data_ = static_cast<std::byte*>(data);
  buffer.size_bytes_ = size_bytes;
  return buffer;
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ == nullptr) return;
  if (pinned_) {
    cudaFreeHost(data_);
  } else {
    std::free(data_);
  }
}

}  // namespace prefixd::cuda
