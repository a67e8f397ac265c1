// Decoded and preprocessed images, found again by the digest of the bytes they came from: a picture
// that was sent once is neither sent nor decoded again. Least recently used entries go first.
// Thread-safe.
#ifndef PREFIXD_ENGINE_VISION_IMAGE_STORE_H_
#define PREFIXD_ENGINE_VISION_IMAGE_STORE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "base/lru_cache.h"
#include "base/mutex.h"
#include "base/sha256.h"

namespace prefixd {

// What the vision tower takes, and the name of its content.
struct PreparedImage {
  Sha256Digest media_id{};                           // Over preprocessing, size and RGB pixels.
  std::shared_ptr<const std::vector<float>> pixels;  // [3][image_size][image_size], normalised.
};

class ImageStore {
 public:
  // Keeps at most `max_bytes` of pixels; 0: nothing. Pixels that a holder still has do not go away
  // when their entry does.
  explicit ImageStore(uint64_t max_bytes) : cache_(max_bytes) {}

  // `digest`: SHA-256 of the encoded bytes. A hit freshens the entry.
  std::optional<PreparedImage> Find(absl::string_view tenant, const Sha256Digest& digest);

  void Insert(absl::string_view tenant, const Sha256Digest& digest, PreparedImage image);

  // Drops all entries, or one tenant's. Returns the bytes of their pixels.
  uint64_t Flush(const std::optional<std::string>& tenant);

  struct Stats {
    uint64_t hits = 0, misses = 0;  // Of Find, since start.
    uint64_t bytes = 0;
    int32_t entries = 0;
  };
  Stats stats() const;

 private:
  using Key = std::pair<std::string, Sha256Digest>;

  mutable Mutex mutex_;
  LruCache<Key, PreparedImage> cache_ ABSL_GUARDED_BY(mutex_);
  uint64_t hits_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t misses_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_VISION_IMAGE_STORE_H_
