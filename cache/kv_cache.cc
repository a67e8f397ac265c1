#include "cache/kv_cache.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {
namespace {

// What computing a column again costs, in rows: an image's rows cost its tower too, and attention
// grows with the depth.
uint32_t RecomputeCost(TokenView tokens, int32_t column) {
  constexpr int32_t kDepthOfOneRow = 1024;
  const int32_t begin = column * kSlotsPerPage;
  int32_t cost = kSlotsPerPage + kSlotsPerPage * begin / kDepthOfOneRow;
  for (const MediaRun& run : tokens.media) {
    const int32_t from = std::max(begin, run.row_begin);
    const int32_t to = std::min(begin + kSlotsPerPage, run.row_end());
    if (from < to) cost += to - from;
  }
  return static_cast<uint32_t>(cost);
}

}  // namespace

KvCache::KvCache(int num_layers, int32_t num_pages)
    : KvCache(num_layers, num_pages, {{.quota = num_pages}}) {}

KvCache::KvCache(int num_layers, int32_t num_pages, std::vector<TenantPages> tenants, int key_bits)
    : num_layers_(num_layers),
      tenants_(std::move(tenants)),
      pool_(num_pages),
      index_(std::make_unique<PrefixIndex>(
          PrefixIndex::Options{.num_layers = num_layers, .key_bits = key_bits})),
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

int64_t KvCache::PagesToAppendOneEach(absl::Span<const KvSequence* const> sequences) const {
  int64_t pages = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    pages += PagesToAppend(*sequences[i], 1);
    const LayerTable& layer = sequences[i]->layer(0);
    if (layer.length() % kSlotsPerPage == 0) continue;
    const PageId last = layer.page_ids().back();
    int32_t writers = 0;  // Up to this one.
    for (size_t j = 0; j <= i; ++j) {
      const absl::Span<const PageId> ids = sequences[j]->layer(0).page_ids();
      writers += !ids.empty() && ids.back() == last ? 1 : 0;
    }
    if (writers > 1 && writers == pool_.ref_count(last)) pages -= num_layers_;
  }
  return pages;
}

int64_t KvCache::NewOwnPages(absl::Span<const KvSequence* const> sequences, size_t index) const {
  const absl::Span<const PageId> ids = sequences[index]->layer(0).page_ids();
  const size_t first = index < kMaxSiblings ? 0 : index + 1 - kMaxSiblings;
  int64_t columns = 0;
  for (size_t column = sequences[index]->num_shared_columns(); column < ids.size(); ++column) {
    bool seen = false;
    if (pool_.ref_count(ids[column]) > 1) {
      for (size_t j = first; j < index; ++j) {
        const absl::Span<const PageId> others = sequences[j]->layer(0).page_ids();
        seen = seen || (column < others.size() && others[column] == ids[column]);
      }
    }
    columns += seen ? 0 : 1;
  }
  return columns * num_layers_;
}

int64_t KvCache::OwnPages(absl::Span<const KvSequence* const> siblings) const {
  PREFIXD_CHECK(siblings.size() <= kMaxSiblings);
  int64_t pages = 0;
  for (size_t i = 0; i < siblings.size(); ++i) pages += NewOwnPages(siblings, i);
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
    placement->first_visible[i] = layer.length() + 1;
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
                                   int32_t max_tokens, KvSequence* sequence) {
  const int32_t before = sequence->num_shared_columns_;
  PREFIXD_CHECK(sequence->shares() && sequence->next_position_ == before * kSlotsPerPage);
  PrefixIndex::Match match = index_->Find(sequence->pin_, tokens, keys, max_tokens);
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

// --- Room ----------------------------------------------------------------------------------------

void KvCache::BeginRound(absl::Span<const KvSequence* const> sequences) {
  promised_ = 0;
  std::fill(own_pages_.begin(), own_pages_.end(), 0);
  for (size_t i = 0; i < sequences.size(); ++i) {
    own_pages_[sequences[i]->tenant()] += NewOwnPages(sequences, i);
  }
}

int64_t KvCache::held_pages(int32_t tenant) const {
  return own_pages_[tenant] + index_->num_pages(tenant) - index_->evictable_pages(tenant);
}

int64_t KvCache::Evictable(int32_t victim, int32_t tenant) const {
  const int64_t evictable = index_->evictable_pages(victim);
  if (victim == tenant) return evictable;
  const int64_t floor = PREFIXD_PLANTED(kFloorIgnored) ? 0 : tenants_[victim].floor;
  const int64_t above_floor = own_pages_[victim] + index_->num_pages(victim) - floor;
  // Whole columns go, so that none may reach below the floor.
  return std::clamp<int64_t>(above_floor / num_layers_ * num_layers_, 0, evictable);
}

int32_t KvCache::Victim(int32_t tenant) const {
  int32_t victim = -1;
  double most = 0;
  for (int32_t t = 0; t < num_tenants(); ++t) {
    if (Evictable(t, tenant) == 0) continue;
    const double share =
        static_cast<double>(own_pages_[t] + index_->num_pages(t)) / tenants_[t].weight;
    if (victim < 0 || share > most) {
      victim = t;
      most = share;
    }
  }
  return victim;
}

KvCache::Room KvCache::CanReserve(int32_t tenant, int64_t num_pages) const {
  if (held_pages(tenant) + num_pages > tenants_[tenant].quota && !PREFIXD_PLANTED(kQuotaIgnored)) {
    return Room::kTenantFull;
  }
  return available_pages(tenant) < num_pages ? Room::kPoolFull : Room::kGranted;
}

int64_t KvCache::available_pages(int32_t tenant) const {
  int64_t available = pool_.num_free() - promised_;
  for (int32_t t = 0; t < num_tenants(); ++t) available += Evictable(t, tenant);
  return available;
}

KvCache::Room KvCache::Reserve(int32_t tenant, int64_t num_pages) {
  if (const Room room = CanReserve(tenant, num_pages); room != Room::kGranted) return room;
  while (pool_.num_free() - promised_ < num_pages) {
    const int32_t victim = Victim(tenant);
    PREFIXD_CHECK(victim >= 0);
    PREFIXD_CHECK(index_->Evict(num_layers_, victim) > 0);
  }
  if (!PREFIXD_PLANTED(kPromiseNotKept)) promised_ += num_pages;
  own_pages_[tenant] += num_pages;
  return Room::kGranted;
}

// --- Looking in ----------------------------------------------------------------------------------

void KvCache::CheckInvariants(absl::Span<const KvSequence* const> sequences) const {
  pool_.CheckInvariants();
  index_->CheckInvariants();
  std::vector<int32_t> claims(pool_.num_pages());
  for (const KvSequence* sequence : sequences) {
    PREFIXD_CHECK(sequence->num_layers() == num_layers_);
    PREFIXD_CHECK(sequence->num_shared_columns_ * kSlotsPerPage <= sequence->next_position_);
    for (const LayerTable& layer : sequence->layers_) {
      layer.CheckInvariants(pool_);
      PREFIXD_CHECK(layer.length() <= sequence->next_position_);
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
