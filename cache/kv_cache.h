// The manager of all KV: pages, the sequences that hold them, the index of prefixes that sequences
// share, and the snapshots of compressed ones. Ids and integers only; the bytes are a backend's.
// Engine thread only.
//
// Pages are promised before they are taken: a step reserves what it will append, evicting cached
// prefixes as needed, and then appends without fail.
#ifndef PREFIXD_CACHE_KV_CACHE_H_
#define PREFIXD_CACHE_KV_CACHE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "cache/content.h"
#include "cache/kv_sequence.h"
#include "cache/layer_table.h"
#include "cache/page_pool.h"
#include "cache/prefix_index.h"
#include "cache/retention/policy.h"
#include "cache/snapshot_store.h"

namespace prefixd {

// What one tenant may have of the pool, in pages.
struct TenantPages {
  int64_t quota = 0;    // Most pages held by its sequences and pins.
  int64_t floor = 0;    // Its cached columns up to here are not evicted for others.
  double weight = 1.0;  // Others' cached pages are evicted in proportion.
};

class KvCache {
 public:
  static constexpr size_t kMaxSiblings = 8;

  // One tenant without limits.
  KvCache(int num_layers, int32_t num_pages);
  // `tenants` is not empty. `key_bits`: of the keys of columns and snapshots; for tests.
  KvCache(int num_layers, int32_t num_pages, std::vector<TenantPages> tenants, int key_bits = 256);

  int num_layers() const { return num_layers_; }
  int num_tenants() const { return static_cast<int>(tenants_.size()); }
  const TenantPages& tenant(int32_t index) const { return tenants_[index]; }
  int32_t num_pages() const { return pool_.num_pages(); }
  int32_t num_free_pages() const { return pool_.num_free(); }

  // Pages that a sequence of `num_tokens` tokens holds when nothing is shared or evicted.
  int64_t PagesForTokens(int64_t num_tokens) const;

  // --- Sequences ------------------------------------------------------------------------------

  // Where the tokens of one Append go, per layer.
  struct Placement {
    std::vector<std::vector<int32_t>> write_slots;  // [num_layers][count].
    std::vector<int32_t> first_visible;             // [num_layers]: slots the first row sees.
  };

  // Adds `count` tokens to every layer of `sequence`. Page copies to make before the writes are
  // added to copies(). Returns false, and changes nothing, if free pages lack.
  bool Append(KvSequence* sequence, int32_t count, Placement* placement);

  // A sequence with the same tokens, sharing every page; the first write of either copies.
  // Requires: no copy for `sequence` is pending, that is, its last step has cleared the copies.
  KvSequence Fork(const KvSequence& sequence) const;

  // Pages that Append(count) would take now.
  int64_t PagesToAppend(const KvSequence& sequence, int32_t count) const;
  // Pages that appending one token to each of `sequences`, in turn, would take now. Of those that
  // share their last page with nobody else, the last one needs no copy.
  int64_t PagesToAppendOneEach(absl::Span<const KvSequence* const> sequences) const;

  // Pages that a fork and what it was forked from hold apart from shared columns, each once.
  int64_t OwnPages(absl::Span<const KvSequence* const> siblings) const;

  // Copies to make before the step's writes, in any order: no page is both a source and a
  // destination. The step that made them calls ClearCopies; until then the sources stay allocated.
  absl::Span<const PendingCopy> copies() const { return copies_; }
  void ClearCopies();

  // --- Sharing --------------------------------------------------------------------------------

  // Lets an empty sequence share: it starts at the root of a namespace.
  void Open(const ContentKey& root_key, KvSequence* sequence);

  // Adopts the columns of `tokens` that the index holds beyond those that `sequence` has, of at
  // most `max_tokens` tokens in all. Requires: it shares, and all its pages are shared columns.
  // What follows the columns and matches in part is returned in the match, not adopted.
  // kScored: only up to the last column whose scores are known, and nothing in part.
  // kYielded: only up to the last column whose rows' log-probs are known, and nothing in part.
  enum class Columns { kAny, kScored, kYielded };
  PrefixIndex::Match Extend(TokenView tokens, absl::Span<const ContentKey> keys, int32_t max_tokens,
                            Columns columns, KvSequence* sequence);

  // Adopts the partial column of the match that Extend just returned; the first Append copies it.
  void AdoptPartial(PrefixIndex::Match match, KvSequence* sequence);

  // Publishes every full column that `sequence` computed; where the index has an equal one, the
  // sequence takes its pages and gives its own back. keys: of the leading full columns of `tokens`,
  // as far as they are known; the others are computed. Without effect if it does not share.
  void Publish(TokenView tokens, absl::Span<const ContentKey> keys, KvSequence* sequence);

  // --- Retention (docs/decisions.md, section 3) -----------------------------------------------

  // Gives layer `layer` of `sequence` private pages for the tokens at `kept` (ascending positions,
  // which are its slots). The old table is returned: it must live until the backend has been told
  // to move the slots; its positions are those of the slots. Layer by layer: beside a prompt whose
  // pages are its own one layer's kept pages are needed at a time; pages of shared columns stay in
  // the index, so beside those all layers' are. The pool must have them.
  // Requires: not compressed.
  LayerTable Compress(int layer, absl::Span<const int32_t> kept, KvSequence* sequence);

  // After all layers were compressed: the sequence leaves the index. Nothing that it computes from
  // here on is published.
  void FinishCompress(KvSequence* sequence);

  // From here on layers drop what is over their budgets. budgets: [num_layers].
  void BeginDrops(std::vector<LayerBudget> budgets, KvSequence* sequence);
  // The entries that layer `layer` is over its budget.
  static int32_t DropsDue(const KvSequence& sequence, int layer);
  // After a decode step: each layer that is over its budget hands its oldest droppable slot to the
  // next token. Returns the number of slots.
  int32_t DropOldest(KvSequence* sequence);
  // The same, but every layer hands this slot on. Returns the number of slots.
  int32_t DropSlot(int32_t slot, KvSequence* sequence);

  // Stores what `sequence`, just compressed, holds as a snapshot; from here on it stands on that,
  // or on the equal one that is there. Under a key that another content has it stays as it is.
  // Of `snapshot` everything is set but the layers.
  // Requires: no fork was made since it was compressed; its pages are its own.
  void StoreSnapshot(const ContentKey& key, const SnapshotSpec& spec, Snapshot snapshot,
                     KvSequence* sequence);
  // Stores the prompt of a prefix-LM, whose tokens see each other, as a snapshot for equal prompts:
  // all tokens but the last, which whoever starts from it computes again, for its logits.
  // `sequence`, which holds all of spec.tokens, stands on it from here on; its next token copies
  // the last page. Without effect if one is stored already, and for a prompt of one token.
  // Requires: no fork was made; its pages are its own.
  void StoreWholePrefix(const ContentKey& key, const SnapshotSpec& spec, KvSequence* sequence);
  // Lets an empty sequence start from a snapshot. Returns false if there is none.
  bool StartFromSnapshot(const ContentKey& key, const SnapshotSpec& spec, KvSequence* sequence);

  // --- Ends of contexts (docs/classification.md) ----------------------------------------------

  // Keeps where a context ends, for whoever scores tokens behind an equal one: the KV of the rows
  // that are in no column of the index, under `key`, and the state of its last row. A context that
  // ends with a column keeps the state there. `sequence` holds spec.tokens and nothing else; its
  // full columns are published, if it shares. Its next token copies the last page.
  // Without effect if the end is kept already, or if the last page is one of the index that matched
  // in part. Requires: not compressed; no fork was made.
  void StoreContextEnd(const ContentKey& key, const SnapshotSpec& spec, std::vector<float> state,
                       KvSequence* sequence);
  // Lets an empty sequence hold all tokens of a context whose end is kept; its next token copies
  // the last page. Returns the state of the last row; null, and `sequence` as it was, if the end or
  // a column before it is not there. columns: whether the index has those; keys: of theirs.
  const std::vector<float>* StartFromContextEnd(const ContentKey& key, const SnapshotSpec& spec,
                                                bool columns, absl::Span<const ContentKey> keys,
                                                KvSequence* sequence);

  // What rows of its shared columns yielded, by column from `first` on; null where not known.
  std::vector<std::shared_ptr<const ColumnYield>> YieldsOf(const KvSequence& sequence,
                                                           int32_t first) const;
  // Stores what rows of the shared columns `first`, first + 1, ... of the sequence yielded.
  void AttachYields(const KvSequence& sequence, int32_t first,
                    absl::Span<const std::shared_ptr<const ColumnYield>> yields);

  // Stores scores with the sequence's last shared column. Requires: there is one; [num_layers]
  // [num_shared_columns * kSlotsPerPage].
  void AttachScores(const KvSequence& sequence, ScoreSums scores);

  // Pages that a sequence holds together with the index or with its snapshot.
  int64_t SharedPages(const KvSequence& sequence) const;

  SnapshotStore& snapshots() { return *snapshots_; }
  const SnapshotStore& snapshots() const { return *snapshots_; }

  // Drops what is cached and unused, of one tenant or (-1) of all.
  void EvictAll(int32_t tenant);

  // --- Room -----------------------------------------------------------------------------------

  enum class Room {
    kGranted,
    kPoolFull,    // Too few pages are free or evictable for this tenant.
    kTenantFull,  // The tenant would exceed its quota.
  };
  // Promises `num_pages` to `tenant` until the next round, evicting cached pages as needed: first
  // from whoever has most for his weight, never columns of another tenant below his floor.
  Room Reserve(int32_t tenant, int64_t num_pages);
  // Pages that Reserve could grant `tenant` but for its quota.
  int64_t available_pages(int32_t tenant) const;
  // Whether Reserve would be granted; changes nothing.
  Room CanReserve(int32_t tenant, int64_t num_pages) const;

  // Counts the own pages of all live sequences afresh and forgets promises; call before a round of
  // Reserve. Forks of one sequence lie side by side, at most kMaxSiblings.
  void BeginRound(absl::Span<const KvSequence* const> sequences);

  // Pages that a tenant's sequences and pins hold: own pages, as counted last and promised since,
  // and pages of the index and of snapshots that cannot be evicted.
  int64_t held_pages(int32_t tenant) const;

  PrefixIndex& index() { return *index_; }
  const PrefixIndex& index() const { return *index_; }

  // Crashes unless the pool, the index and `sequences` (all that are alive) agree on every page:
  // each page's count is the number of tables and columns that hold it, all others are free.
  void CheckInvariants(absl::Span<const KvSequence* const> sequences) const;

  // Claims on a page, by page id: 0 is free (or held by a copy).
  int32_t num_claims(PageId id) const { return pool_.ref_count(id); }

 private:
  SnapshotStore::Pin InsertSnapshot(const ContentKey& key, const SnapshotSpec& spec, int32_t tenant,
                                    Snapshot snapshot);
  // Own pages of sequences[index] that the kMaxSiblings - 1 before it do not hold.
  int64_t NewOwnPages(absl::Span<const KvSequence* const> sequences, size_t index) const;
  int64_t NewPagesOfLayer(absl::Span<const KvSequence* const> sequences, size_t index, int layer,
                          size_t first) const;
  bool IsOfSnapshot(const KvSequence& sequence, int layer, size_t page) const;

  int64_t HeldAndCached(int32_t tenant) const;
  int64_t AboveFloor(int32_t victim) const;
  // Cached pages of `victim` that may be evicted for `tenant`, and those of columns among them.
  int64_t Evictable(int32_t victim, int32_t tenant) const;
  int64_t EvictableColumns(int32_t victim, int32_t tenant) const;
  // Whom to evict from for `tenant`, or -1.
  int32_t Victim(int32_t tenant) const;
  // Evicts a column or a snapshot for `tenant`, whichever has the lower priority.
  void EvictSome(int32_t victim, int32_t tenant);

  const int num_layers_;
  const std::vector<TenantPages> tenants_;
  PagePool pool_;
  std::unique_ptr<PrefixIndex> index_;
  std::unique_ptr<SnapshotStore> snapshots_;
  std::vector<PendingCopy> copies_;
  std::vector<PageHold> copy_sources_;  // Keeps the sources of copies_ alive.
  std::vector<int64_t> own_pages_;      // By tenant, as counted last, and what was promised since.
  int64_t promised_ = 0;
  std::vector<const PrefixIndex::Node*> chain_;  // Scratch of Extend.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_KV_CACHE_H_
