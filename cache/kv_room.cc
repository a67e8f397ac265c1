// KvCache: who holds how many pages, and who may have more.
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/planted_bug.h"
#include "cache/kv_cache.h"

namespace prefixd {

// --- Counting ------------------------------------------------------------------------------------

int64_t KvCache::PagesToAppendOneEach(absl::Span<const KvSequence* const> sequences) const {
  int64_t pages = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    pages += PagesToAppend(*sequences[i], 1);
    if (i == 0) continue;
    // The layers of a sequence that is not compressed are alike.
    const int alike = sequences[i]->compressed() ? 1 : num_layers_;
    for (int layer = 0; layer < num_layers_; layer += alike) {
      const PageId page = sequences[i]->layer(layer).next_written_page();
      if (page < 0) continue;
      int32_t writers = 0;  // Up to this one.
      for (size_t j = 0; j <= i; ++j) {
        writers += sequences[j]->layer(layer).next_written_page() == page ? 1 : 0;
      }
      if (writers > 1 && writers == pool_.ref_count(page)) pages -= alike;
    }
  }
  return pages;
}

// Pages of one layer from `first` on that none of the kMaxSiblings - 1 sequences before holds.
int64_t KvCache::NewPagesOfLayer(absl::Span<const KvSequence* const> sequences, size_t index,
                                 int layer, size_t first) const {
  const absl::Span<const PageId> ids = sequences[index]->layer(layer).page_ids();
  const size_t begin = index < kMaxSiblings ? 0 : index + 1 - kMaxSiblings;
  int64_t pages = 0;
  for (size_t page = first; page < ids.size(); ++page) {
    bool seen = false;
    if (pool_.ref_count(ids[page]) > 1) {
      for (size_t j = begin; j < index; ++j) {
        const absl::Span<const PageId> others = sequences[j]->layer(layer).page_ids();
        seen = seen || (page < others.size() && others[page] == ids[page]);
      }
      seen = seen || IsOfSnapshot(*sequences[index], layer, page);
    }
    pages += seen ? 0 : 1;
  }
  return pages;
}

int64_t KvCache::NewOwnPages(absl::Span<const KvSequence* const> sequences, size_t index) const {
  const KvSequence& sequence = *sequences[index];
  const size_t first = static_cast<size_t>(sequence.num_shared_columns());
  if (!sequence.compressed()) return num_layers_ * NewPagesOfLayer(sequences, index, 0, first);
  int64_t pages = 0;
  for (int layer = 0; layer < num_layers_; ++layer) {
    pages += NewPagesOfLayer(sequences, index, layer, first);
  }
  return pages;
}

bool KvCache::IsOfSnapshot(const KvSequence& sequence, int layer, size_t page) const {
  if (!sequence.snapshot()) return false;
  const Snapshot& snapshot = *sequence.snapshot();
  const absl::Span<const PageId> held = snapshot.layers[layer].page_ids();
  const size_t first = static_cast<size_t>(snapshot.first_page);
  return page >= first && page - first < held.size() &&
         held[page - first] == sequence.layer(layer).page_ids()[page];
}

int64_t KvCache::OwnPages(absl::Span<const KvSequence* const> siblings) const {
  PREFIXD_CHECK(siblings.size() <= kMaxSiblings);
  int64_t pages = 0;
  for (size_t i = 0; i < siblings.size(); ++i) pages += NewOwnPages(siblings, i);
  return pages;
}

int64_t KvCache::SharedPages(const KvSequence& sequence) const {
  int64_t pages = int64_t{sequence.num_shared_columns()} * num_layers_;
  if (!sequence.snapshot()) return pages;
  for (int layer = 0; layer < num_layers_; ++layer) {
    const size_t held = sequence.layer(layer).page_ids().size();
    for (size_t page = 0; page < held; ++page) pages += IsOfSnapshot(sequence, layer, page);
  }
  return pages;
}

void KvCache::BeginRound(absl::Span<const KvSequence* const> sequences) {
  promised_ = 0;
  std::fill(own_pages_.begin(), own_pages_.end(), 0);
  for (size_t i = 0; i < sequences.size(); ++i) {
    own_pages_[sequences[i]->tenant()] += NewOwnPages(sequences, i);
  }
}

int64_t KvCache::held_pages(int32_t tenant) const {
  return own_pages_[tenant] + index_->num_pages(tenant) - index_->evictable_pages(tenant) +
         snapshots_->num_pages(tenant) - snapshots_->evictable_pages(tenant);
}

int64_t KvCache::HeldAndCached(int32_t tenant) const {
  return own_pages_[tenant] + index_->num_pages(tenant) + snapshots_->num_pages(tenant);
}

// --- Evicting ------------------------------------------------------------------------------------

// Without snapshots that may go: they are large, and kept ones could take others' last room.
int64_t KvCache::AboveFloor(int32_t victim) const {
  return HeldAndCached(victim) - snapshots_->evictable_pages(victim) -
         (PREFIXD_PLANTED(kFloorIgnored) ? 0 : tenants_[victim].floor);
}

int64_t KvCache::EvictableColumns(int32_t victim, int32_t tenant) const {
  const int64_t columns = index_->evictable_pages(victim);
  if (victim == tenant) return columns;
  // Whole columns go, so that none may reach below the floor.
  return std::clamp<int64_t>(AboveFloor(victim) / num_layers_ * num_layers_, 0, columns);
}

int64_t KvCache::Evictable(int32_t victim, int32_t tenant) const {
  return EvictableColumns(victim, tenant) + snapshots_->evictable_pages(victim);
}

int32_t KvCache::Victim(int32_t tenant) const {
  int32_t victim = -1;
  double most = 0;
  for (int32_t t = 0; t < num_tenants(); ++t) {
    if (Evictable(t, tenant) == 0) continue;
    const double share = static_cast<double>(HeldAndCached(t)) / tenants_[t].weight;
    if (victim < 0 || share > most) {
      victim = t;
      most = share;
    }
  }
  return victim;
}

void KvCache::EvictSome(int32_t victim, int32_t tenant) {
  const std::optional<uint64_t> snapshot = snapshots_->LowestPriority(victim);
  const std::optional<uint64_t> column =
      EvictableColumns(victim, tenant) > 0 ? index_->LowestPriority(victim) : std::nullopt;
  PREFIXD_CHECK(snapshot || column);
  if (snapshot && (!column || *snapshot <= *column)) {
    snapshots_->EvictLowest(victim);
    index_->AdvanceClock(*snapshot);
  } else {
    index_->Evict(num_layers_, victim);
  }
}

void KvCache::EvictAll(int32_t tenant) {
  index_->Evict(std::numeric_limits<int64_t>::max(), tenant);
  while (snapshots_->EvictLowest(tenant) > 0) {
  }
}

// --- Granting ------------------------------------------------------------------------------------

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
    EvictSome(victim, tenant);
  }
  if (!PREFIXD_PLANTED(kPromiseNotKept)) promised_ += num_pages;
  own_pages_[tenant] += num_pages;
  return Room::kGranted;
}

}  // namespace prefixd
