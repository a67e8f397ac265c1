#include "cache/kv_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/planted_bug.h"
#include "cache/recompute_cost.h"

namespace prefixd {
KvCache::KvCache(int num_layers, int32_t num_pages)
    : KvCache(num_layers, num_pages, {{.quota = num_pages}}) {}

KvCache::KvCache(int num_layers, int32_t num_pages, std::vector<TenantPages> tenants, int key_bits)
    : num_layers_(num_layers),
      tenants_(std::move(tenants)),
      pool_(num_pages),
      index_(std::make_unique<PrefixIndex>(
          PrefixIndex::Options{.num_layers = num_layers, .key_bits = key_bits})),
      snapshots_(std::make_unique<SnapshotStore>(key_bits)),
      own_pages_(tenants_.size()) {
  PREFIXD_CHECK(num_layers > 0 && !tenants_.empty());
}

int64_t KvCache::PagesForTokens(int64_t num_tokens) const {
  PREFIXD_CHECK(num_tokens >= 0);
  const int64_t per_layer = num_tokens / kSlotsPerPage + (num_tokens % kSlotsPerPage != 0);
  return per_layer * num_layers_;
}

// --- Sequences -----------------------------------------------------------------------------------

int64_t KvCache::PagesToAppend(const KvSequence& sequence, int32_t count) const {
  int64_t pages = 0;
  for (const LayerTable& layer : sequence.layers_) pages += layer.PagesToAppend(count);
  return pages;
}

bool KvCache::Append(KvSequence* sequence, int32_t count, Placement* placement) {
  PREFIXD_CHECK(sequence->num_layers() == num_layers_);
  PREFIXD_CHECK(count >= 0);
  PREFIXD_CHECK(count <= std::numeric_limits<int32_t>::max() - sequence->next_position_);
  if (PagesToAppend(*sequence, count) > pool_.num_free()) return false;
  placement->write_slots.resize(num_layers_);
  placement->first_visible.resize(num_layers_);
  for (int i = 0; i < num_layers_; ++i) {
    LayerTable& layer = sequence->layers_[i];
    std::vector<int32_t>& slots = placement->write_slots[i];
    // A slot that is taken over is among those that were visible.
    placement->first_visible[i] = layer.length() + (layer.free_slot() < 0 ? 1 : 0);
    slots.resize(count);
    layer.Append(count, sequence->next_position_, &pool_, absl::MakeSpan(slots), &copies_,
                 &copy_sources_);
  }
  sequence->next_position_ += count;
  if (count > 0) sequence->partial_pin_ = {};  // The copy holds the page from here on.
  return true;
}

KvSequence KvCache::Fork(const KvSequence& sequence) const {
  PREFIXD_CHECK(sequence.num_layers() == num_layers_);
  KvSequence fork(num_layers_, sequence.tenant_);
  for (int i = 0; i < num_layers_; ++i) fork.layers_[i] = sequence.layers_[i].Fork();
  fork.next_position_ = sequence.next_position_;
  fork.pin_ = sequence.pin_.Clone();
  fork.partial_pin_ = sequence.partial_pin_.Clone();
  fork.last_key_ = sequence.last_key_;
  fork.num_shared_columns_ = sequence.num_shared_columns_;
  fork.snapshot_ = sequence.snapshot_.Clone();
  fork.compressed_ = sequence.compressed_;
  if (!PREFIXD_PLANTED(kForkHasNoBudget)) fork.budgets_ = sequence.budgets_;
  return fork;
}

void KvCache::ClearCopies() {
  copies_.clear();
  copy_sources_.clear();
}

// --- Sharing -------------------------------------------------------------------------------------

void KvCache::Open(const ContentKey& root_key, KvSequence* sequence) {
  PREFIXD_CHECK(!sequence->shares() && sequence->next_position_ == 0);
  sequence->pin_ = index_->Root(root_key, sequence->tenant_);
  sequence->last_key_ = root_key;
}

PrefixIndex::Match KvCache::Extend(TokenView tokens, absl::Span<const ContentKey> keys,
                                   int32_t max_tokens, Columns columns, KvSequence* sequence) {
  const int32_t before = sequence->num_shared_columns_;
  PREFIXD_CHECK(sequence->shares() && sequence->next_position_ == before * kSlotsPerPage);
  PrefixIndex::Match match = index_->Find(sequence->pin_, tokens, keys, max_tokens);
  if (columns == Columns::kScored && !PREFIXD_PLANTED(kHitBeyondScores)) {
    index_->CutToScores(before, &match);
  }
  if (columns == Columns::kYielded) index_->CutToYields(before, &match);
  PREFIXD_CHECK(match.num_columns >= before);
  chain_.clear();
  const PrefixIndex::Node* node = match.pin.node();
  for (int32_t column = match.num_columns; column > before; --column) {
    chain_.push_back(node);
    node = index_->parent(node);
  }
  PREFIXD_CHECK(node == sequence->pin_.node());
  while (!chain_.empty()) {
    const absl::Span<const PageRef> pages = index_->pages(chain_.back());
    for (int i = 0; i < num_layers_; ++i) {
      sequence->layers_[i].Adopt(pages[i].Share(), kSlotsPerPage, sequence->next_position_);
    }
    sequence->next_position_ += kSlotsPerPage;
    chain_.pop_back();
  }
  if (match.num_columns > before) {
    sequence->last_key_ = keys[match.num_columns - 1];
    sequence->num_shared_columns_ = match.num_columns;
    sequence->pin_ = std::move(match.pin);
  }
  return match;
}

void KvCache::AdoptPartial(PrefixIndex::Match match, KvSequence* sequence) {
  PREFIXD_CHECK(match.partial && match.num_columns == sequence->num_shared_columns_);
  const absl::Span<const PageRef> pages = index_->pages(match.partial.node());
  for (int i = 0; i < num_layers_; ++i) {
    sequence->layers_[i].Adopt(pages[i].Share(), match.partial_tokens, sequence->next_position_);
  }
  sequence->next_position_ += match.partial_tokens;
  sequence->partial_pin_ = std::move(match.partial);
}

void KvCache::Publish(TokenView tokens, absl::Span<const ContentKey> keys, KvSequence* sequence) {
  if (!sequence->shares()) return;
  PREFIXD_CHECK(!sequence->compressed());
  int32_t full = sequence->next_position_ / kSlotsPerPage;
  if (PREFIXD_PLANTED(kPublishBeforeFull) && full < static_cast<int32_t>(keys.size())) {
    full = (sequence->next_position_ + 1) / kSlotsPerPage;
  }
  for (int32_t column = sequence->num_shared_columns_; column < full; ++column) {
    const ContentKey key = column < static_cast<int32_t>(keys.size())
                               ? keys[column]
                               : ColumnKey(sequence->last_key_, tokens, column);
    std::vector<PageRef> pages;
    pages.reserve(num_layers_);
    for (const LayerTable& layer : sequence->layers_) pages.push_back(layer.SharePage(column));
    sequence->pin_ = index_->Publish(sequence->pin_, key, tokens, std::move(pages),
                                     RecomputeCost(tokens, column));
    const absl::Span<const PageRef> published = index_->pages(sequence->pin_.node());
    for (int i = 0; i < num_layers_; ++i) {
      LayerTable& layer = sequence->layers_[i];
      if (PREFIXD_PLANTED(kDuplicateKeepsOwnPages)) continue;
      if (layer.page_ids()[column] == published[i].id()) continue;
      layer.ReplacePage(column, published[i].Share());
    }
    sequence->last_key_ = key;
    sequence->num_shared_columns_ = column + 1;
  }
}

// --- Looking in ----------------------------------------------------------------------------------

void KvCache::CheckInvariants(absl::Span<const KvSequence* const> sequences) const {
  pool_.CheckInvariants();
  index_->CheckInvariants();
  snapshots_->CheckInvariants(pool_);
  std::vector<int32_t> claims(pool_.num_pages());
  for (const KvSequence* sequence : sequences) {
    PREFIXD_CHECK(sequence->num_layers() == num_layers_);
    PREFIXD_CHECK(sequence->num_shared_columns_ * kSlotsPerPage <= sequence->next_position_);
    PREFIXD_CHECK(!sequence->compressed_ || sequence->num_shared_columns_ == 0);
    for (const LayerTable& layer : sequence->layers_) {
      layer.CheckInvariants(pool_);
      PREFIXD_CHECK(sequence->compressed_ ? layer.length() <= sequence->next_position_
                                          : layer.length() == sequence->next_position_);
      for (const PageId id : layer.page_ids()) ++claims[id];
    }
    const PrefixIndex::Node* node = sequence->pin_.node();
    for (int32_t column = sequence->num_shared_columns_ - 1; column >= 0; --column) {
      for (int i = 0; i < num_layers_; ++i) {
        PREFIXD_CHECK(index_->pages(node)[i].id() == sequence->layers_[i].page_ids()[column]);
      }
      node = index_->parent(node);
    }
  }
  index_->ForEachPage([&claims](PageId id, bool) { ++claims[id]; });
  snapshots_->ForEachPage([&claims](PageId id, bool) { ++claims[id]; });
  std::vector<int32_t> holds(pool_.num_pages());
  PREFIXD_CHECK(copies_.size() == copy_sources_.size());
  for (const PendingCopy& copy : copies_) ++holds[copy.source];
  for (const PendingCopy& copy : copies_) PREFIXD_CHECK(holds[copy.destination] == 0);
  for (PageId id = 0; id < pool_.num_pages(); ++id) {
    PREFIXD_CHECK(pool_.ref_count(id) == claims[id]);
    PREFIXD_CHECK(pool_.hold_count(id) == holds[id]);
  }
}

}  // namespace prefixd
