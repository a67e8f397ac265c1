// The memory that all image decodes in flight may hold together. Thread-safe.
#ifndef PREFIXD_ENGINE_VISION_DECODE_MEMORY_H_
#define PREFIXD_ENGINE_VISION_DECODE_MEMORY_H_

#include <cstdint>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace prefixd {

class DecodeMemory {
 public:
  // Move-only claim on some bytes; gives them back when destroyed. Must not outlive the memory.
  class Lease {
   public:
    Lease(Lease&& other) noexcept
        : memory_(std::exchange(other.memory_, nullptr)), bytes_(other.bytes_) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (memory_ != nullptr) memory_->Release(bytes_);
    }

   private:
    friend class DecodeMemory;
    Lease(DecodeMemory* memory, uint64_t bytes) : memory_(memory), bytes_(bytes) {}

    DecodeMemory* memory_;
    uint64_t bytes_;
  };

  DecodeMemory(uint64_t limit_bytes, absl::Duration max_wait)
      : limit_bytes_(limit_bytes), max_wait_(max_wait) {}

  // Waits until `bytes` are free. Errors: INVALID_ARGUMENT (IMAGE_TOO_LARGE) if they never can be,
  // RESOURCE_EXHAUSTED (DECODE_MEMORY_BUSY) if they are not within the wait.
  absl::StatusOr<Lease> Take(uint64_t bytes);

 private:
  void Release(uint64_t bytes);

  const uint64_t limit_bytes_;
  const absl::Duration max_wait_;
  Mutex mutex_;
  uint64_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_DECODE_MEMORY_H_
