// Image features by content: a hit skips the vision tower. Engine thread only.
#ifndef PREFIXD_ENGINE_FEATURE_CACHE_H_
#define PREFIXD_ENGINE_FEATURE_CACHE_H_

#include <cstdint>
#include <memory>
#include <tuple>

#include "base/lru_cache.h"
#include "cache/content.h"
#include "engine/tensor/tensor.h"

namespace prefixd {

using Features = std::shared_ptr<const OwnedTensor>;  // [tokens_per_image, hidden_size].

class FeatureCache {
 public:
  // Features that a holder still has do not go away when their entry does.
  explicit FeatureCache(uint64_t max_bytes) : cache_(max_bytes) {}

  // `root_key` is the namespace (tenant, salt, model) that the image was seen in. Null if absent.
  Features Find(const ContentKey& root_key, const ContentKey& media_id, int32_t tenant) {
    const Features* found = cache_.Find({tenant, root_key, media_id});
    return found != nullptr ? *found : nullptr;
  }
  void Insert(const ContentKey& root_key, const ContentKey& media_id, int32_t tenant,
              Features features) {
    const uint64_t bytes = features->buffer.size_bytes();
    cache_.Insert({tenant, root_key, media_id}, std::move(features), bytes);
  }
  // Drops all entries (tenant -1) or one tenant's. Returns their bytes.
  uint64_t Flush(int32_t tenant) {
    return cache_.EraseIf(
        [tenant](const Key& key) { return tenant < 0 || std::get<0>(key) == tenant; });
  }

  uint64_t bytes() const { return cache_.bytes(); }
  int32_t size() const { return static_cast<int32_t>(cache_.size()); }

 private:
  using Key = std::tuple<int32_t, ContentKey, ContentKey>;  // Tenant, root, media.

  LruCache<Key, Features> cache_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_FEATURE_CACHE_H_
