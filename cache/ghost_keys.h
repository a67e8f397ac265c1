// A bounded memory of tags (the first bits of keys) that were evicted, the latest ones.
// Engine thread only.
#ifndef PREFIXD_CACHE_GHOST_KEYS_H_
#define PREFIXD_CACHE_GHOST_KEYS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"

namespace prefixd {

class GhostKeys {
 public:
  explicit GhostKeys(size_t capacity) : capacity_(capacity) {}

  bool Contains(uint64_t tag) const { return places_.contains(tag); }
  size_t size() const { return places_.size(); }

  // Forgets the oldest if full.
  void Add(uint64_t tag);
  void Forget(uint64_t tag) { places_.erase(tag); }

 private:
  const size_t capacity_;
  std::vector<uint64_t> ring_;  // In order of Add, from next_ on. Holds forgotten ones as well.
  size_t next_ = 0;
  absl::flat_hash_map<uint64_t, size_t> places_;  // Tag -> its latest place in the ring.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_GHOST_KEYS_H_
