// Leaves in the order of eviction: lowest priority first, then least recently used. Pinned leaves
// may lie in it, with the rank that they had before, until they come to the top: so a lookup, which
// pins, leaves the heap alone. O(log n) a change; allocates nothing once it has had its greatest
// size. Engine thread only; does not own the nodes. A node is in at most one heap.
#ifndef PREFIXD_CACHE_EVICTION_HEAP_H_
#define PREFIXD_CACHE_EVICTION_HEAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace prefixd {

struct PrefixNode;

class EvictionHeap {
 public:
  // What the order goes by; no two nodes agree in `last_use`.
  struct Rank {
    uint64_t priority;
    uint64_t last_use;
    friend auto operator<=>(const Rank&, const Rank&) = default;
  };

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  // Requires: not empty.
  PrefixNode* top() const { return entries_.front().node; }
  Rank top_rank() const { return entries_.front().rank; }

  // Puts `node` where its rank belongs now. The rank must not change while it is not protected.
  // Requires: `node` is in this heap or in none.
  void Place(PrefixNode* node);
  // Requires: `node` is in this heap.
  void Remove(PrefixNode* node);
  // Removes protected nodes until another one is on top.
  void RemoveProtectedTops();

  // Crashes unless the order holds, nodes know their places and unprotected ones have their rank.
  void CheckInvariants() const;

 private:
  struct Entry {
    Rank rank;
    PrefixNode* node;
  };

  void Set(size_t index, const Entry& entry);
  void Fix(size_t index, const Entry& entry);
  void SiftUp(size_t index, const Entry& entry);
  void SiftDown(size_t index, const Entry& entry);

  std::vector<Entry> entries_;
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_EVICTION_HEAP_H_
