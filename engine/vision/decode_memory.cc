#include "engine/vision/decode_memory.h"

#include "base/check.h"
#include "engine/vision/image_errors.h"

namespace prefixd {

absl::StatusOr<DecodeMemory::Lease> DecodeMemory::Take(uint64_t bytes) {
  if (bytes > limit_bytes_) {
    return ImageTooLarge("image decode memory in bytes", bytes, limit_bytes_);
  }
  MutexLock lock(&mutex_);
  const auto fits = [this, bytes]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return bytes <= limit_bytes_ - used_bytes_;
  };
  if (!mutex_.AwaitWithTimeout(fits, max_wait_)) {
    return DecodeMemoryBusy(bytes, limit_bytes_);
  }
  used_bytes_ += bytes;
  return Lease(this, bytes);
}

void DecodeMemory::Release(uint64_t bytes) {
  MutexLock lock(&mutex_);
  PREFIXD_CHECK(bytes <= used_bytes_);
  used_bytes_ -= bytes;
}

}  // namespace prefixd
