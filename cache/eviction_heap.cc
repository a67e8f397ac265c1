#include "cache/eviction_heap.h"

#include "base/check.h"
#include "base/planted_bug.h"
#include "cache/prefix_node.h"

namespace prefixd {

void EvictionHeap::Place(PrefixNode* node) {
  const Entry entry = {{node->priority(), node->last_use}, node};
  if (node->heap_index == PrefixNode::kNotInHeap) {
    entries_.emplace_back();
    SiftUp(entries_.size() - 1, entry);
  } else {
    PREFIXD_CHECK(entries_[node->heap_index].node == node);
    Fix(node->heap_index, entry);
  }
}

void EvictionHeap::Remove(PrefixNode* node) {
  const size_t index = node->heap_index;
  PREFIXD_CHECK(index < entries_.size() && entries_[index].node == node);
  node->heap_index = PrefixNode::kNotInHeap;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (last.node != node) Fix(index, last);
}

void EvictionHeap::RemoveProtectedTops() {
  if (PREFIXD_PLANTED(kPinnedIsEvicted)) return;
  while (!empty() && top()->protections > 0) Remove(top());
}

void EvictionHeap::Set(size_t index, const Entry& entry) {
  entries_[index] = entry;
  entry.node->heap_index = index;
}

void EvictionHeap::Fix(size_t index, const Entry& entry) {
  if (index > 0 && entry.rank < entries_[(index - 1) / 2].rank) {
    SiftUp(index, entry);
  } else {
    SiftDown(index, entry);
  }
}

void EvictionHeap::SiftUp(size_t index, const Entry& entry) {
  while (index > 0) {
    const size_t parent = (index - 1) / 2;
    if (entries_[parent].rank < entry.rank) break;
    Set(index, entries_[parent]);
    index = parent;
  }
  Set(index, entry);
}

void EvictionHeap::SiftDown(size_t index, const Entry& entry) {
  for (size_t child = 2 * index + 1; child < entries_.size(); child = 2 * index + 1) {
    if (child + 1 < entries_.size() && entries_[child + 1].rank < entries_[child].rank) ++child;
    if (entry.rank < entries_[child].rank) break;
    Set(index, entries_[child]);
    index = child;
  }
  Set(index, entry);
}

void EvictionHeap::CheckInvariants() const {
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    PREFIXD_CHECK(entry.node->heap_index == i);
    const Rank rank = {entry.node->priority(), entry.node->last_use};
    PREFIXD_CHECK(entry.node->protections > 0 || entry.rank == rank);
    if (i > 0) PREFIXD_CHECK(entries_[(i - 1) / 2].rank < entry.rank);
  }
}

}  // namespace prefixd
