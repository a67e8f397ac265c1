// KvCache: compressed sequences, their drops, and snapshots.
#include <utility>

#include "base/check.h"
#include "base/planted_bug.h"
#include "cache/kv_cache.h"
#include "cache/recompute_cost.h"

namespace prefixd {

LayerTable KvCache::Compress(int layer, absl::Span<const int32_t> kept, KvSequence* sequence) {
  LayerTable& table = sequence->layers_[layer];
  PREFIXD_CHECK(!sequence->compressed_);
  PREFIXD_CHECK(!kept.empty() && kept.back() < table.length() && table.free_slot() < 0);
  return std::exchange(table, LayerTable::OfPositions(kept, &pool_));
}

void KvCache::FinishCompress(KvSequence* sequence) {
  sequence->compressed_ = true;
  sequence->pin_ = {};
  sequence->partial_pin_ = {};
  sequence->num_shared_columns_ = 0;
}

void KvCache::BeginDrops(std::vector<LayerBudget> budgets, KvSequence* sequence) {
  PREFIXD_CHECK(sequence->compressed_ && sequence->budgets_.empty());
  PREFIXD_CHECK(budgets.size() == static_cast<size_t>(num_layers_));
  for (int i = 0; i < num_layers_; ++i) {
    sequence->layers_[i].BeginDrops(budgets[i].first_droppable);
  }
  sequence->budgets_ = std::move(budgets);
}

int32_t KvCache::DropsDue(const KvSequence& sequence, int layer) {
  const LayerBudget& budget = sequence.budgets_[layer];
  return prefixd::DropsDue(sequence.layers_[layer].length(),
                           sequence.next_position_ - budget.seen_before, budget.forget_ratio,
                           budget.offset);
}

int32_t KvCache::DropOldest(KvSequence* sequence) {
  int32_t dropped = 0;
  for (int i = 0; i < num_layers_ && !sequence->budgets_.empty(); ++i) {
    if (DropsDue(*sequence, i) < (PREFIXD_PLANTED(kDropForgotten) ? 2 : 1)) continue;
    dropped += sequence->layers_[i].DropOldest() ? 1 : 0;
  }
  return dropped;
}

int32_t KvCache::DropSlot(int32_t slot, KvSequence* sequence) {
  for (LayerTable& layer : sequence->layers_) layer.DropSlot(slot);
  return num_layers_;
}

SnapshotStore::Pin KvCache::InsertSnapshot(const ContentKey& key, const SnapshotSpec& spec,
                                           int32_t tenant, Snapshot snapshot) {
  uint64_t cost = 0;
  const int32_t first = snapshot.first_page;
  for (int32_t column = first; column * kSlotsPerPage < snapshot.num_tokens; ++column) {
    cost += RecomputeCost(spec.tokens, column);
  }
  const uint64_t pages = static_cast<uint64_t>(snapshot.num_pages());
  const uint64_t per_column = cost * static_cast<uint64_t>(num_layers_) / pages;
  return snapshots_->Insert(key, spec, tenant, per_column, index_->clock(), std::move(snapshot));
}

void KvCache::StoreSnapshot(const ContentKey& key, const SnapshotSpec& spec, Snapshot snapshot,
                            KvSequence* sequence) {
  PREFIXD_CHECK(sequence->compressed_ && sequence->budgets_.empty() && !sequence->snapshot_);
  PREFIXD_CHECK(sequence->next_position_ == static_cast<int32_t>(spec.tokens.ids.size()));
  PREFIXD_CHECK(sequence->next_position_ == snapshot.num_tokens && snapshot.layers.empty());
  for (const LayerTable& layer : sequence->layers_) {
    for (const PageId id : layer.page_ids()) PREFIXD_CHECK(pool_.ref_count(id) == 1);
    snapshot.layers.push_back(layer.Fork());
  }
  sequence->snapshot_ = InsertSnapshot(key, spec, sequence->tenant_, std::move(snapshot));
  if (!sequence->snapshot_) return;
  for (int i = 0; i < num_layers_; ++i) {
    sequence->layers_[i] = sequence->snapshot_->layers[i].Fork();
  }
}

void KvCache::StoreWholePrefix(const ContentKey& key, const SnapshotSpec& spec,
                               KvSequence* sequence) {
  const int32_t tokens = static_cast<int32_t>(spec.tokens.ids.size());
  PREFIXD_CHECK(!sequence->compressed_ && !sequence->shares());
  PREFIXD_CHECK(sequence->next_position_ >= tokens);
  if (tokens < 2 || snapshots_->Contains(key)) return;
  Snapshot snapshot{.num_tokens = tokens - 1};
  for (const LayerTable& layer : sequence->layers_) {
    for (const PageId id : layer.page_ids()) PREFIXD_CHECK(pool_.ref_count(id) == 1);
    snapshot.layers.push_back(layer.ForkPrefix(snapshot.num_tokens));
  }
  sequence->snapshot_ = InsertSnapshot(key, spec, sequence->tenant_, std::move(snapshot));
  sequence->compressed_ = static_cast<bool>(sequence->snapshot_);
}

bool KvCache::StartFromSnapshot(const ContentKey& key, const SnapshotSpec& spec,
                                KvSequence* sequence) {
  PREFIXD_CHECK(sequence->next_position_ == 0);
  SnapshotStore::Pin pin = snapshots_->Find(key, spec, index_->clock());
  if (!pin) return false;
  KvSequence started(num_layers_, sequence->tenant_);
  for (int i = 0; i < num_layers_; ++i) started.layers_[i] = pin->layers[i].Fork();
  started.next_position_ = pin->num_tokens;
  started.compressed_ = true;
  started.snapshot_ = std::move(pin);
  *sequence = std::move(started);
  return true;
}

void KvCache::AttachScores(const KvSequence& sequence, ScoreSums scores) {
  PREFIXD_CHECK(sequence.shares() && sequence.num_shared_columns_ > 0);
  index_->AttachScores(sequence.pin_, std::move(scores));
}

}  // namespace prefixd
