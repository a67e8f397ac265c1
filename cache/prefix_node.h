// A column of the prefix index, or a root. Engine thread only; owned by the index.
#ifndef PREFIXD_CACHE_PREFIX_NODE_H_
#define PREFIXD_CACHE_PREFIX_NODE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/inlined_vector.h"
#include "cache/column.h"
#include "cache/content.h"
#include "cache/page_pool.h"

namespace prefixd {

struct PrefixNode;

// Orders nodes, and columns that are no nodes, by content.
struct ByContent {
  using is_transparent = void;
  bool operator()(const PrefixNode* a, const PrefixNode* b) const;
  bool operator()(const PrefixNode* a, const ColumnView& b) const;
  bool operator()(const ColumnView& a, const PrefixNode* b) const;
};

// A lookup reads the first two cache lines of every column that it walks through, and the third
// where there is an image.
struct alignas(64) PrefixNode {
  static constexpr size_t kNotInHeap = SIZE_MAX;

  std::array<int32_t, kSlotsPerPage> ids{};

  ContentKey key{};              // Cut to the index's key_bits; a root's is whole.
  PrefixNode* parent = nullptr;  // Null: a root.
  int32_t protections = 0;       // Pins of the node, and children with any protection.
  int32_t tenant = 0;
  int32_t depth = 0;  // Columns from the root to this one.
  uint32_t cost = 0;  // Of computing the column again.
  absl::InlinedVector<MediaSpan, 1> media;

  // The last use of the node, or of a descendant that is gone. A living descendant's use counts
  // when it goes, since no ancestor can go before.
  uint64_t use_clock = 0;  // The eviction clock then.
  uint64_t last_use = 0;   // Its number.
  size_t heap_index = kNotInHeap;
  absl::btree_set<PrefixNode*, ByContent> children;
  std::vector<PageRef> pages;                // [num_layers]; a root has none.
  ScoreSums scores;                          // Over the queries up to here; null: not known.
  std::shared_ptr<const ColumnYield> yield;  // Null: not known.

  bool is_root() const { return parent == nullptr; }
  bool is_leaf() const { return children.empty(); }
  uint64_t priority() const { return use_clock + cost; }
  ColumnView content() const { return {ids.data(), kSlotsPerPage, media}; }
};

inline bool ByContent::operator()(const PrefixNode* a, const PrefixNode* b) const {
  return CompareContent(a->content(), b->content()) < 0;
}
inline bool ByContent::operator()(const PrefixNode* a, const ColumnView& b) const {
  return CompareContent(a->content(), b) < 0;
}
inline bool ByContent::operator()(const ColumnView& a, const PrefixNode* b) const {
  return CompareContent(a, b->content()) < 0;
}

}  // namespace prefixd

#endif  // PREFIXD_CACHE_PREFIX_NODE_H_
