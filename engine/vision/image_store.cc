#include "engine/vision/image_store.h"

namespace prefixd {

std::optional<PreparedImage> ImageStore::Find(absl::string_view tenant,
                                              const Sha256Digest& digest) {
  MutexLock lock(&mutex_);
  const PreparedImage* found = cache_.Find(Key(std::string(tenant), digest));
  ++(found != nullptr ? hits_ : misses_);
  return found != nullptr ? std::optional<PreparedImage>(*found) : std::nullopt;
}

void ImageStore::Insert(absl::string_view tenant, const Sha256Digest& digest,
                        PreparedImage image) {
  const uint64_t bytes = image.pixels->size() * sizeof(float);
  MutexLock lock(&mutex_);
  cache_.Insert(Key(std::string(tenant), digest), std::move(image), bytes);
}

uint64_t ImageStore::Flush(const std::optional<std::string>& tenant) {
  MutexLock lock(&mutex_);
  return cache_.EraseIf([&tenant](const Key& key) { return !tenant || key.first == *tenant; });
}

ImageStore::Stats ImageStore::stats() const {
  MutexLock lock(&mutex_);
  return {.hits = hits_,
          .misses = misses_,
          .bytes = cache_.bytes(),
          .entries = static_cast<int32_t>(cache_.size())};
}

}  // namespace prefixd
