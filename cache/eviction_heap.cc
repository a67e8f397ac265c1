#include "cache/eviction_heap.h"

#include "base/check.h"
#include "cache/prefix_node.h"

namespace prefixd {

void EvictionHeap::Insert(PrefixNode* node) {
  PREFIXD_CHECK(node->heap_index == PrefixNode::kNotInHeap);
  entries_.emplace_back();
  SiftUp(entries_.size() - 1, {{node->priority(), node->last_use}, node});
}

void EvictionHeap::Remove(PrefixNode* node) {
  const size_t index = node->heap_index;
  PREFIXD_CHECK(index < entries_.size() && entries_[index].node == node);
  node->heap_index = PrefixNode::kNotInHeap;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (last.node == node) return;
  if (index > 0 && last.rank < entries_[(index - 1) / 2].rank) {
    SiftUp(index, last);
  } else {
    SiftDown(index, last);
  }
}

void EvictionHeap::Place(size_t index, const Entry& entry) {
  entries_[index] = entry;
  entry.node->heap_index = index;
}

void EvictionHeap::SiftUp(size_t index, const Entry& entry) {
  while (index > 0) {
    const size_t parent = (index - 1) / 2;
    if (entries_[parent].rank < entry.rank) break;
    Place(index, entries_[parent]);
    index = parent;
  }
  Place(index, entry);
}

void EvictionHeap::SiftDown(size_t index, const Entry& entry) {
  for (size_t child = 2 * index + 1; child < entries_.size(); child = 2 * index + 1) {
    if (child + 1 < entries_.size() && entries_[child + 1].rank < entries_[child].rank) ++child;
    if (entry.rank < entries_[child].rank) break;
    Place(index, entries_[child]);
    index = child;
  }
  Place(index, entry);
}

void EvictionHeap::CheckInvariants() const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    PREFIXD_CHECK(entry.node->heap_index == i);
    PREFIXD_CHECK((entry.rank == Rank{entry.node->priority(), entry.node->last_use}));
    if (i > 0) PREFIXD_CHECK(entries_[(i - 1) / 2].rank < entry.rank);
  }
}

}  // namespace prefixd
