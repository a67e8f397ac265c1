// Brings small arrays of the host to the device beside the work there: a ring of pinned blocks,
// each with a twin in device memory, guarded by events.
//
//   host      fills block i once its last copy is made
//   copy_in   copies it to the twin once the last reader of the twin is done
//   current   waits for the copy
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STAGING_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STAGING_H_

#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/backend/cuda/cuda_memory.h"

namespace prefixd::cuda {

// Arrays one behind the other, each aligned to 16 bytes; they get to the device in one copy.
class HostPack {
 public:
  void Clear() { bytes_.clear(); }

  // Returns the offset of the array's copy.
  template <typename T>
  size_t Add(absl::Span<const T> values) {
    const size_t offset = (bytes_.size() + 15) / 16 * 16;
    const size_t size = values.size() * sizeof(T);
    bytes_.resize(offset + size);
    if (size > 0) std::memcpy(bytes_.data() + offset, values.data(), size);
    return offset;
  }
  template <typename T>
  size_t Add(const std::vector<T>& values) {
    return Add(absl::MakeConstSpan(values));
  }

  absl::Span<const std::byte> bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

// The array of a pack whose copy begins at `base`.
template <typename T>
const T* ArrayAt(const std::byte* base, size_t offset) {
  return reinterpret_cast<const T*>(base + offset);
}

class StagingRing {
 public:
  static constexpr int kBlocks = 3;

  // Blocks begin with `block_bytes` and grow as needed.
  static absl::StatusOr<std::unique_ptr<StagingRing>> Create(size_t block_bytes, CudaHealth* health,
                                                             const CudaStreams* streams,
                                                             const CudaQueues* queues,
                                                             DeviceMemory* memory);

  // Returns where the current queue finds `bytes`. They stay there for the work that it gets before
  // the next Send or, with `hold`, before Release; one block is held at a time. Errors:
  // RESOURCE_EXHAUSTED.
  absl::StatusOr<const std::byte*> Send(absl::Span<const std::byte> bytes, bool hold = false);
  absl::Status Release();

 private:
  struct Block {
    PinnedBuffer host;
    Buffer device;
    CudaEvent copied;  // The block may be filled.
    CudaEvent read;    // The twin may be overwritten.
    cudaStream_t reader = nullptr;
    bool used = false;
  };

  StagingRing(CudaHealth* health, const CudaStreams* streams, const CudaQueues* queues,
              DeviceMemory* memory)
      : health_(health), streams_(streams), queues_(queues), memory_(memory) {}

  absl::Status Grow(size_t size_bytes, Block* block);
  // All that reads the block's twin has been enqueued.
  absl::Status Seal(const Block& block);
  absl::StatusOr<int> NextBlock();

  CudaHealth* const health_;
  const CudaStreams* const streams_;
  const CudaQueues* const queues_;
  DeviceMemory* const memory_;
  Block blocks_[kBlocks];
  int next_ = 0;
  int open_ = -1;  // The block of the last Send.
  int held_ = -1;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STAGING_H_
