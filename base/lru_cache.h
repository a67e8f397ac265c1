// A map that keeps at most so many bytes of values: the least recently used go first.
// Not thread-safe.
#ifndef PREFIXD_BASE_LRU_CACHE_H_
#define PREFIXD_BASE_LRU_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace prefixd {

template <typename Key, typename Value>
class LruCache {
 public:
  // 0 bytes: nothing is kept.
  explicit LruCache(uint64_t max_bytes) : max_bytes_(max_bytes) {}

  // Returns the value, freshened, or null. Valid until the next Insert or EraseIf.
  Value* Find(const Key& key) {
    const auto found = by_key_.find(key);
    if (found == by_key_.end()) return nullptr;
    entries_.splice(entries_.begin(), entries_, found->second);
    return &entries_.front().value;
  }

  // Adds a value that counts `bytes`, unless the key is there or the value alone is too large.
  void Insert(const Key& key, Value value, uint64_t bytes) {
    if (bytes > max_bytes_ || by_key_.contains(key)) return;
    entries_.push_front({key, std::move(value), bytes});
    by_key_.emplace(key, entries_.begin());
    bytes_ += bytes;
    while (bytes_ > max_bytes_) Erase(std::prev(entries_.end()));
  }

  // Drops the entries for which `drop(key)` holds. Returns their bytes.
  template <typename Drop>
  uint64_t EraseIf(Drop drop) {
    const uint64_t before = bytes_;
    for (auto it = entries_.begin(); it != entries_.end();) {
      const auto next = std::next(it);
      if (drop(it->key)) Erase(it);
      it = next;
    }
    return before - bytes_;
  }

  uint64_t bytes() const { return bytes_; }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    Key key;
    Value value;
    uint64_t bytes;
  };
  using Iterator = typename std::list<Entry>::iterator;

  void Erase(Iterator it) {
    bytes_ -= it->bytes;
    by_key_.erase(it->key);
    entries_.erase(it);
  }

  const uint64_t max_bytes_;
  std::list<Entry> entries_;  // Most recently used first.
  absl::flat_hash_map<Key, Iterator> by_key_;
  uint64_t bytes_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_BASE_LRU_CACHE_H_
