// The KV of one sequence: a layer table per layer, the number of tokens it has seen, where it
// stands in the prefix index, and, once it is compressed, the budgets of its layers. Engine thread
// only.
#ifndef PREFIXD_CACHE_KV_SEQUENCE_H_
#define PREFIXD_CACHE_KV_SEQUENCE_H_

#include <cstdint>
#include <vector>

#include "cache/content.h"
#include "cache/layer_table.h"
#include "cache/prefix_index.h"
#include "cache/snapshot_store.h"

namespace prefixd {

// How far a layer may grow: it holds at most offset + (tokens seen since `seen_before`) *
// (1 - forget_ratio) tokens; beyond that new tokens take over old slots.
struct LayerBudget {
  double forget_ratio = 0;  // [0, 1).
  double offset = 0;        // Tokens that do not count towards the budget.
  int32_t seen_before = 0;
  int32_t first_droppable = 0;  // See LayerTable::BeginDrops.
};

class KvSequence {
 public:
  // Accounts its pages to `tenant`; shares nothing until KvCache::Open.
  explicit KvSequence(int num_layers, int32_t tenant = 0) : tenant_(tenant), layers_(num_layers) {}
  KvSequence(KvSequence&&) = default;
  KvSequence& operator=(KvSequence&&) = default;

  int num_layers() const { return static_cast<int>(layers_.size()); }
  int32_t tenant() const { return tenant_; }
  const LayerTable& layer(int index) const { return layers_[index]; }
  // Tokens seen so far, which is the position of the next one; not the number of live slots.
  int32_t next_position() const { return next_position_; }
  // Pages held over all layers, shared ones included.
  int32_t num_pages() const;

  // Whether its pages come from and go to the prefix index.
  bool shares() const { return static_cast<bool>(pin_); }
  // Leading columns that it holds together with the index; the rest of its pages are its own, and
  // those of its forks (KvCache::OwnPages).
  int32_t num_shared_columns() const { return num_shared_columns_; }
  // Its place in the index: the last shared column, or the root.
  const PrefixIndex::Pin& pin() const { return pin_; }

  // Whether its layers may have unequal lengths: it shares nothing through the index any more.
  bool compressed() const { return compressed_; }
  // The snapshot that it started from; null: none.
  const SnapshotStore::Pin& snapshot() const { return snapshot_; }
  // By layer; empty: no layer drops anything.
  absl::Span<const LayerBudget> budgets() const { return budgets_; }

 private:
  friend class KvCache;

  int32_t tenant_;
  // Pins before pages: pages of a node go back before the node may be evicted.
  PrefixIndex::Pin pin_;
  SnapshotStore::Pin snapshot_;
  PrefixIndex::Pin partial_pin_;  // Keeps the partly matched column until its slots are copied.
  ContentKey last_key_{};         // Of the last shared column, or of the root.
  int32_t num_shared_columns_ = 0;
  std::vector<LayerTable> layers_;
  int32_t next_position_ = 0;
  bool compressed_ = false;
  std::vector<LayerBudget> budgets_;
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_KV_SEQUENCE_H_
