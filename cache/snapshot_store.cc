#include "cache/snapshot_store.h"

#include <algorithm>

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {

struct SnapshotStore::Entry {
  ContentKey key{};
  ContentKey root_key{}, recipe{};
  std::vector<int32_t> ids;
  std::vector<MediaRun> media;
  Snapshot snapshot;
  int64_t num_pages = 0;
  int32_t tenant = 0;
  int32_t pins = 0;
  uint64_t cost = 0;
  uint64_t use_clock = 0;
  uint64_t last_use = 0;

  uint64_t priority() const { return use_clock + cost; }
  bool Holds(const SnapshotSpec& spec) const;
};

namespace {

bool SameRun(const MediaRun& a, const MediaRun& b) {
  return a.row_begin == b.row_begin && a.num_rows == b.num_rows && a.media_id == b.media_id;
}

// The runs that lie within the tokens.
absl::Span<const MediaRun> RunsOf(TokenView tokens) {
  size_t count = 0;
  while (count < tokens.media.size() &&
         tokens.media[count].row_begin < static_cast<int32_t>(tokens.ids.size())) {
    ++count;
  }
  return tokens.media.subspan(0, count);
}

}  // namespace

bool SnapshotStore::Entry::Holds(const SnapshotSpec& spec) const {
  const absl::Span<const MediaRun> runs = RunsOf(spec.tokens);
  if (root_key != spec.root_key && !PREFIXD_PLANTED(kRootNotInSnapshotKey)) return false;
  if (recipe != spec.recipe && !PREFIXD_PLANTED(kRecipeNotInSnapshotKey)) return false;
  return std::equal(ids.begin(), ids.end(), spec.tokens.ids.begin(), spec.tokens.ids.end()) &&
         std::equal(media.begin(), media.end(), runs.begin(), runs.end(), SameRun);
}

int64_t Snapshot::num_pages() const {
  int64_t pages = 0;
  for (const LayerTable& layer : layers) pages += static_cast<int64_t>(layer.page_ids().size());
  return pages;
}

ContentKey SnapshotKey(const SnapshotSpec& spec) {
  Sha256 hash;
  if (!PREFIXD_PLANTED(kRootNotInSnapshotKey)) hash.Update(spec.root_key);
  if (!PREFIXD_PLANTED(kRecipeNotInSnapshotKey)) hash.Update(spec.recipe);
  hash.Update(uint64_t{spec.tokens.ids.size()});
  for (const int32_t id : spec.tokens.ids) hash.Update(static_cast<uint64_t>(id));
  for (const MediaRun& run : RunsOf(spec.tokens)) {
    hash.Update(static_cast<uint64_t>(run.row_begin));
    hash.Update(static_cast<uint64_t>(run.num_rows));
    hash.Update(run.media_id);
  }
  return hash.Finish();
}

SnapshotStore::SnapshotStore(int key_bits) : key_bits_(key_bits) {
  PREFIXD_CHECK(key_bits >= 1 && key_bits <= 256);
}

SnapshotStore::~SnapshotStore() { PREFIXD_CHECK(num_pins_ == 0); }

// --- Pins ----------------------------------------------------------------------------------------

SnapshotStore::Pin::~Pin() {
  if (entry_ != nullptr) store_->Unpin(entry_);
}

const Snapshot& SnapshotStore::Pin::operator*() const { return entry_->snapshot; }

SnapshotStore::Pin SnapshotStore::Pin::Clone() const {
  return entry_ == nullptr ? Pin() : store_->PinEntry(entry_);
}

SnapshotStore::Pin SnapshotStore::PinEntry(Entry* entry) {
  ++num_pins_;
  if (entry->pins++ == 0) At(entry->tenant).evictable_pages -= entry->num_pages;
  return Pin(this, entry);
}

void SnapshotStore::Unpin(Entry* entry) {
  PREFIXD_CHECK(entry->pins > 0);
  --num_pins_;
  if (--entry->pins == 0) At(entry->tenant).evictable_pages += entry->num_pages;
}

// --- The store -----------------------------------------------------------------------------------

SnapshotStore::Pin SnapshotStore::Find(const ContentKey& key, const SnapshotSpec& spec,
                                       uint64_t clock) {
  const auto found = entries_.find(CutKey(key, key_bits_));
  const bool equal = found != entries_.end() &&
                     (PREFIXD_PLANTED(kSnapshotNotCompared) || found->second->Holds(spec));
  if (!equal) {
    ++counters_.misses;
    if (found != entries_.end()) ++counters_.collisions;
    return Pin();
  }
  ++counters_.hits;
  Entry* entry = found->second.get();
  entry->use_clock = clock;
  entry->last_use = ++num_uses_;
  return PinEntry(entry);
}

SnapshotStore::Pin SnapshotStore::Insert(const ContentKey& key, const SnapshotSpec& spec,
                                         int32_t tenant, uint64_t cost, uint64_t clock,
                                         Snapshot snapshot) {
  PREFIXD_CHECK(tenant >= 0);
  const ContentKey cut = CutKey(key, key_bits_);
  std::unique_ptr<Entry>& entry = entries_[cut];
  if (entry == nullptr) {
    entry = std::make_unique<Entry>();
    const absl::Span<const MediaRun> runs = RunsOf(spec.tokens);
    entry->key = cut;
    entry->root_key = spec.root_key;
    entry->recipe = spec.recipe;
    entry->ids.assign(spec.tokens.ids.begin(), spec.tokens.ids.end());
    entry->media.assign(runs.begin(), runs.end());
    entry->snapshot = std::move(snapshot);
    entry->num_pages = entry->snapshot.num_pages();
    entry->tenant = tenant;
    entry->cost = cost;
    At(tenant).num_pages += entry->num_pages;
    At(tenant).evictable_pages += entry->num_pages;
    ++counters_.made;
  } else if (!PREFIXD_PLANTED(kSnapshotNotCompared) && !entry->Holds(spec)) {
    ++counters_.collisions;
    return Pin();
  }
  entry->use_clock = clock;
  entry->last_use = ++num_uses_;
  return PinEntry(entry.get());
}

const SnapshotStore::Entry* SnapshotStore::Lowest(int32_t tenant) const {
  const Entry* lowest = nullptr;
  for (const auto& [key, entry] : entries_) {
    if (entry->pins > 0 && !PREFIXD_PLANTED(kUsedSnapshotIsEvicted)) continue;
    if (tenant >= 0 && entry->tenant != tenant) continue;
    const auto rank = [](const Entry& e) { return std::pair(e.priority(), e.last_use); };
    if (lowest == nullptr || rank(*entry) < rank(*lowest)) lowest = entry.get();
  }
  return lowest;
}

std::optional<uint64_t> SnapshotStore::LowestPriority(int32_t tenant) const {
  const Entry* lowest = Lowest(tenant);
  if (lowest == nullptr) return std::nullopt;
  return lowest->priority();
}

int64_t SnapshotStore::EvictLowest(int32_t tenant) {
  const Entry* lowest = Lowest(tenant);
  if (lowest == nullptr) return 0;
  const int64_t pages = lowest->num_pages;
  At(lowest->tenant).num_pages -= pages;
  At(lowest->tenant).evictable_pages -= pages;
  ++counters_.evicted;
  entries_.erase(entries_.find(lowest->key));
  return pages;
}

SnapshotStore::TenantPages& SnapshotStore::At(int32_t tenant) {
  if (static_cast<size_t>(tenant) >= tenants_.size()) tenants_.resize(tenant + 1);
  return tenants_[tenant];
}

const SnapshotStore::TenantPages& SnapshotStore::At(int32_t tenant) const {
  static const TenantPages kNone;
  return static_cast<size_t>(tenant) < tenants_.size() ? tenants_[tenant] : kNone;
}

int64_t SnapshotStore::num_pages() const {
  int64_t pages = 0;
  for (const TenantPages& tenant : tenants_) pages += tenant.num_pages;
  return pages;
}

int64_t SnapshotStore::evictable_pages() const {
  int64_t pages = 0;
  for (const TenantPages& tenant : tenants_) pages += tenant.evictable_pages;
  return pages;
}

void SnapshotStore::ForEachPage(absl::FunctionRef<void(PageId page, bool used)> visit) const {
  for (const auto& [key, entry] : entries_) {
    for (const LayerTable& layer : entry->snapshot.layers) {
      for (const PageId id : layer.page_ids()) visit(id, entry->pins > 0);
    }
  }
}

void SnapshotStore::CheckInvariants(const PagePool& pool) const {
  std::vector<TenantPages> counted(tenants_.size());
  int64_t pins = 0;
  for (const auto& [key, entry] : entries_) {
    int64_t pages = 0;
    for (const LayerTable& layer : entry->snapshot.layers) {
      layer.CheckInvariants(pool);
      PREFIXD_CHECK(layer.length() <= entry->snapshot.num_tokens && layer.free_slot() < 0);
      pages += static_cast<int64_t>(layer.page_ids().size());
    }
    PREFIXD_CHECK(pages == entry->num_pages && key == entry->key && entry->pins >= 0);
    counted[entry->tenant].num_pages += pages;
    counted[entry->tenant].evictable_pages += entry->pins == 0 ? pages : 0;
    pins += entry->pins;
  }
  PREFIXD_CHECK(pins == num_pins_);
  for (size_t t = 0; t < tenants_.size(); ++t) {
    PREFIXD_CHECK(counted[t].num_pages == tenants_[t].num_pages);
    PREFIXD_CHECK(counted[t].evictable_pages == tenants_[t].evictable_pages);
  }
}

}  // namespace prefixd
