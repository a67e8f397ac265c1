// Finds nodes by the first 64 bits of their keys: open addressing, linear probing, at most half
// full. Several nodes may have one tag. Lookups of many tags overlap their cache misses by asking
// for the buckets first, then for the nodes. Engine thread only; does not own the nodes.
#ifndef PREFIXD_CACHE_KEY_TABLE_H_
#define PREFIXD_CACHE_KEY_TABLE_H_

#include <cstddef>
#include <cstdint>

#include "cache/huge_pages.h"

namespace prefixd {

struct PrefixNode;

class KeyTable {
 public:
  KeyTable();

  size_t size() const { return size_; }

  // Brings the bucket of `tag` closer.
  void Prefetch(uint64_t tag) const { __builtin_prefetch(&entries_[Bucket(tag)]); }

  // The first node with `tag`, null if there is none.
  PrefixNode* First(uint64_t tag) const {
    size_t i = Bucket(tag);
    while (entries_[i].node != nullptr && entries_[i].tag != tag) i = (i + 1) & mask_;
    return entries_[i].node;
  }

  // The first node with `tag` for which `accept` is true, null if there is none.
  template <typename Accept>
  PrefixNode* Find(uint64_t tag, Accept accept) const {
    for (size_t i = Bucket(tag); entries_[i].node != nullptr; i = (i + 1) & mask_) {
      if (entries_[i].tag == tag && accept(entries_[i].node)) return entries_[i].node;
    }
    return nullptr;
  }

  // Requires: `node` is not null and not in the table.
  void Insert(uint64_t tag, PrefixNode* node);
  // Requires: `node` is in the table under `tag`.
  void Erase(uint64_t tag, const PrefixNode* node);

  // Crashes unless every entry can be found and the counts agree.
  void CheckInvariants() const;

 private:
  struct Entry {
    uint64_t tag;
    PrefixNode* node;  // Null: free.
  };

  size_t Bucket(uint64_t tag) const;
  // Requires: a power of two, more than twice the size.
  void Resize(size_t capacity);

  HugeMemory memory_;
  Entry* entries_ = nullptr;  // [mask_ + 1], in memory_.
  size_t mask_ = 0;
  size_t size_ = 0;
  // Tags come from hashes that a client can compute; where they collide should not.
  uint64_t seed_;
};

inline size_t KeyTable::Bucket(uint64_t tag) const {
  uint64_t x = (tag ^ seed_) * 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 32)) * 0xd6e8feb86659fd93;
  return (x ^ (x >> 32)) & mask_;
}

}  // namespace prefixd

#endif  // PREFIXD_CACHE_KEY_TABLE_H_
