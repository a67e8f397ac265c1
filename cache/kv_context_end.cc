// KvCache: where contexts end, and what columns yielded.
#include <algorithm>
#include <memory>
#include <utility>

#include "base/check.h"
#include "cache/kv_cache.h"

namespace prefixd {

void KvCache::StoreContextEnd(const ContentKey& key, const SnapshotSpec& spec,
                              std::vector<float> state, KvSequence* sequence) {
  const int32_t tokens = static_cast<int32_t>(spec.tokens.ids.size());
  PREFIXD_CHECK(tokens >= 1 && sequence->next_position_ == tokens);
  PREFIXD_CHECK(!sequence->compressed_ && !sequence->snapshot_);
  const int32_t columns = sequence->num_shared_columns_;
  PREFIXD_CHECK(!sequence->shares() || columns == tokens / kSlotsPerPage);
  if (columns * kSlotsPerPage == tokens) {
    index_->AttachYield(sequence->pin_.node(), std::make_shared<const ColumnYield>(
                                                   ColumnYield{.last_state = std::move(state)}));
    return;
  }
  // Rows of a column that matched in part are there already, as long as that column is.
  if (snapshots_->Contains(key) || sequence->partial_pin_) return;
  Snapshot snapshot{.first_page = columns, .last_state = std::move(state), .num_tokens = tokens};
  for (const LayerTable& layer : sequence->layers_) {
    for (const PageId id : layer.page_ids().subspan(static_cast<size_t>(columns))) {
      PREFIXD_CHECK(pool_.ref_count(id) == 1);
    }
    snapshot.layers.push_back(layer.ForkTail(columns));
  }
  sequence->snapshot_ = InsertSnapshot(key, spec, sequence->tenant_, std::move(snapshot));
}

const std::vector<float>* KvCache::StartFromContextEnd(const ContentKey& key,
                                                       const SnapshotSpec& spec, bool columns,
                                                       absl::Span<const ContentKey> keys,
                                                       KvSequence* sequence) {
  PREFIXD_CHECK(sequence->next_position_ == 0 && !sequence->shares());
  const int32_t tokens = static_cast<int32_t>(spec.tokens.ids.size());
  const int32_t full = columns ? tokens / kSlotsPerPage : 0;
  const bool in_index = full * kSlotsPerPage == tokens;
  if (!in_index && !snapshots_->Contains(key)) return nullptr;
  KvSequence started(num_layers_, sequence->tenant_);
  if (columns) {
    Open(spec.root_key, &started);
    Extend(spec.tokens, keys, full * kSlotsPerPage, Columns::kAny, &started);
    if (started.num_shared_columns_ < full) return nullptr;
  }
  if (in_index) {
    const auto& yield = index_->yield(started.pin_.node());
    if (yield == nullptr) return nullptr;
    *sequence = std::move(started);
    return &yield->last_state;
  }
  SnapshotStore::Pin pin = snapshots_->Find(key, spec, index_->clock());
  if (!pin) return nullptr;
  PREFIXD_CHECK(pin->first_page == full && pin->num_tokens == tokens);
  for (int i = 0; i < num_layers_; ++i) {
    const LayerTable& tail = pin->layers[i];
    for (int32_t slot = 0; slot < tail.length(); slot += kSlotsPerPage) {
      started.layers_[i].Adopt(tail.SharePage(slot / kSlotsPerPage),
                               std::min(tail.length() - slot, kSlotsPerPage),
                               full * kSlotsPerPage + slot);
    }
  }
  started.next_position_ = tokens;
  started.snapshot_ = std::move(pin);
  *sequence = std::move(started);
  return &sequence->snapshot_->last_state;
}

std::vector<std::shared_ptr<const ColumnYield>> KvCache::YieldsOf(const KvSequence& sequence,
                                                                  int32_t first) const {
  std::vector<std::shared_ptr<const ColumnYield>> yields;
  const PrefixIndex::Node* node = sequence.pin_.node();
  if (sequence.num_shared_columns_ <= first) return yields;
  yields.resize(static_cast<size_t>(sequence.num_shared_columns_ - first));
  for (size_t i = yields.size(); i-- > 0; node = index_->parent(node)) {
    yields[i] = index_->yield(node);
  }
  return yields;
}

void KvCache::AttachYields(const KvSequence& sequence, int32_t first,
                           absl::Span<const std::shared_ptr<const ColumnYield>> yields) {
  const int32_t end = first + static_cast<int32_t>(yields.size());
  PREFIXD_CHECK(first >= 0 && end <= sequence.num_shared_columns_);
  const PrefixIndex::Node* node = sequence.pin_.node();
  for (int32_t column = sequence.num_shared_columns_; column-- > first;) {
    if (column < end) index_->AttachYield(node, yields[static_cast<size_t>(column - first)]);
    node = index_->parent(node);
  }
}

}  // namespace prefixd
