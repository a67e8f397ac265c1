// Compressed prefixes that sessions start from: per-layer tables of unequal length under the key of
// the prefix and the recipe. A hit requires equal tokens, images and recipe, not only the key. A
// snapshot in use stays; of the others the cheapest to recompute for its pages goes first, by the
// clock that the prefix index evicts by. Nothing computed on a snapshot is ever in the index
// (docs/decisions.md, rules 8 and 18). Engine thread only.
#ifndef PREFIXD_CACHE_SNAPSHOT_STORE_H_
#define PREFIXD_CACHE_SNAPSHOT_STORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "cache/content.h"
#include "cache/layer_table.h"

namespace prefixd {

// What a snapshot is of.
struct SnapshotSpec {
  ContentKey root_key{};  // Namespace, model, KV type.
  ContentKey recipe{};    // RecipeDigest.
  TokenView tokens;       // Of the prefix, all of it.
};

// Names the root key, the tokens and images, and the recipe.
ContentKey SnapshotKey(const SnapshotSpec& spec);

struct Snapshot {
  std::vector<LayerTable> layers;
  // Pages before those of `layers` that are columns of the prefix index: of the end of a context.
  int32_t first_page = 0;
  std::vector<float> last_state;  // Of a context: what its last row hands to the output head.
  int32_t num_tokens = 0;         // Of the prefix: the position of the next token.
  // What the selection said: the forget ratio of each layer, and the share of scores that was kept.
  std::vector<double> forget_ratios;
  double score_mass = 1.0;

  int64_t num_pages() const;
};

class SnapshotStore {
 public:
  struct Entry;

  // Keeps a snapshot. Move-only; null when default-constructed or moved from. Must not outlive the
  // store.
  class Pin {
   public:
    Pin() = default;
    Pin(Pin&& other) noexcept
        : store_(std::exchange(other.store_, nullptr)),
          entry_(std::exchange(other.entry_, nullptr)) {}
    Pin& operator=(Pin&& other) noexcept {
      std::swap(store_, other.store_);
      std::swap(entry_, other.entry_);
      return *this;
    }
    ~Pin();

    explicit operator bool() const { return entry_ != nullptr; }
    const Snapshot& operator*() const;
    const Snapshot* operator->() const { return &**this; }
    Pin Clone() const;

   private:
    friend class SnapshotStore;
    Pin(SnapshotStore* store, Entry* entry) : store_(store), entry_(entry) {}

    SnapshotStore* store_ = nullptr;
    Entry* entry_ = nullptr;
  };

  // `key_bits`: of keys that count; tests cut them to force collisions.
  explicit SnapshotStore(int key_bits = 256);
  // Requires: no pin is left. Gives all pages back.
  ~SnapshotStore();
  SnapshotStore(const SnapshotStore&) = delete;
  SnapshotStore& operator=(const SnapshotStore&) = delete;

  // The snapshot under `key`, which is SnapshotKey(spec); null if there is none, or one of other
  // content. `clock`: see Victim. A use.
  Pin Find(const ContentKey& key, const SnapshotSpec& spec, uint64_t clock);

  // Whether Find would find one, as far as the key tells; not a use.
  bool Contains(const ContentKey& key) const { return entries_.contains(CutKey(key, key_bits_)); }

  // Adds a snapshot; `cost` is what computing it again costs, in the unit of PrefixIndex::Publish,
  // for as many pages as a column has. If an equal one is there under the key, that one is
  // returned; if one of other content is, null, and nothing is stored.
  Pin Insert(const ContentKey& key, const SnapshotSpec& spec, int32_t tenant, uint64_t cost,
             uint64_t clock, Snapshot snapshot);

  // The priority of the snapshot of `tenant` (any: -1) that would be evicted next; nullopt if all
  // are in use.
  std::optional<uint64_t> LowestPriority(int32_t tenant) const;
  // Drops that snapshot. Returns its pages.
  int64_t EvictLowest(int32_t tenant);

  // Pages of all snapshots of a tenant, and of those that are not in use.
  int64_t num_pages(int32_t tenant) const { return At(tenant).num_pages; }
  int64_t evictable_pages(int32_t tenant) const { return At(tenant).evictable_pages; }
  int64_t num_pages() const;
  int64_t evictable_pages() const;
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }

  struct Counters {
    uint64_t hits = 0, misses = 0;  // Of Find.
    uint64_t made = 0, evicted = 0;
    uint64_t collisions = 0;  // Equal keys of different content.
  };
  const Counters& counters() const { return counters_; }

  // Calls `visit(page, used)` for every page of every snapshot; used: by a pin.
  void ForEachPage(absl::FunctionRef<void(PageId page, bool used)> visit) const;

  // Crashes unless the tables and all counts agree.
  void CheckInvariants(const PagePool& pool) const;

 private:
  struct TenantPages {
    int64_t num_pages = 0;
    int64_t evictable_pages = 0;
  };

  TenantPages& At(int32_t tenant);
  const TenantPages& At(int32_t tenant) const;
  Pin PinEntry(Entry* entry);
  void Unpin(Entry* entry);
  const Entry* Lowest(int32_t tenant) const;

  const int key_bits_;
  std::map<ContentKey, std::unique_ptr<Entry>> entries_;  // By the part of the key that counts.
  std::vector<TenantPages> tenants_;
  uint64_t num_uses_ = 0;
  int64_t num_pins_ = 0;
  Counters counters_;
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_SNAPSHOT_STORE_H_
