// The manager of all KV: pages, the sequences that hold them, and the index of prefixes that
// sequences share. Ids and integers only; the bytes are a backend's. Engine thread only.
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

namespace prefixd {

// What one tenant may have of the pool, in pages.
struct TenantPages {
  int64_t quota = 0;    // Most pages held by its sequences and pins.
  int64_t floor = 0;    // Its cached pages up to here are not evicted for others.
  double weight = 1.0;  // Others' cached pages are evicted in proportion.
};

class KvCache {
 public:
  static constexpr size_t kMaxSiblings = 8;

  // One tenant without limits.
  KvCache(int num_layers, int32_t num_pages);
  // `tenants` is not empty. `key_bits`: see PrefixIndex; for tests.
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
  PrefixIndex::Match Extend(TokenView tokens, absl::Span<const ContentKey> keys, int32_t max_tokens,
                            KvSequence* sequence);

  // Adopts the partial column of the match that Extend just returned; the first Append copies it.
  void AdoptPartial(PrefixIndex::Match match, KvSequence* sequence);

  // Publishes every full column that `sequence` computed; where the index has an equal one, the
  // sequence takes its pages and gives its own back. keys: of the leading full columns of `tokens`,
  // as far as they are known; the others are computed. Without effect if it does not share.
  void Publish(TokenView tokens, absl::Span<const ContentKey> keys, KvSequence* sequence);

  // --- Room -----------------------------------------------------------------------------------

  enum class Room {
    kGranted,
    kPoolFull,    // Too few pages are free or evictable for this tenant.
    kTenantFull,  // The tenant would exceed its quota.
  };
  // Promises `num_pages` to `tenant` until the next round, evicting cached pages as needed: first
  // from whoever has most for his weight, never from another tenant below his floor.
  Room Reserve(int32_t tenant, int64_t num_pages);
  // Pages that Reserve could grant `tenant` but for its quota.
  int64_t available_pages(int32_t tenant) const;
  // Whether Reserve would be granted; changes nothing.
  Room CanReserve(int32_t tenant, int64_t num_pages) const;

  // Counts the own pages of all live sequences afresh and forgets promises; call before a round of
  // Reserve. Forks of one sequence lie side by side, at most kMaxSiblings.
  void BeginRound(absl::Span<const KvSequence* const> sequences);

  // Pages that a tenant's sequences and pins hold: own pages, as counted last and promised since,
  // and index pages that cannot be evicted.
  int64_t held_pages(int32_t tenant) const;

  PrefixIndex& index() { return *index_; }
  const PrefixIndex& index() const { return *index_; }

  // Crashes unless the pool, the index and `sequences` (all that are alive) agree on every page:
  // each page's count is the number of tables and columns that hold it, all others are free.
  void CheckInvariants(absl::Span<const KvSequence* const> sequences) const;

  // Claims on a page, by page id: 0 is free (or held by a copy).
  int32_t num_claims(PageId id) const { return pool_.ref_count(id); }

 private:
  // Own pages of sequences[index] that the kMaxSiblings - 1 before it do not hold.
  int64_t NewOwnPages(absl::Span<const KvSequence* const> sequences, size_t index) const;
  // Cached pages of `victim` that may be evicted for `tenant`.
  int64_t Evictable(int32_t victim, int32_t tenant) const;
  // Whom to evict from for `tenant`, or -1.
  int32_t Victim(int32_t tenant) const;

  const int num_layers_;
  const std::vector<TenantPages> tenants_;
  PagePool pool_;
  std::unique_ptr<PrefixIndex> index_;
  std::vector<PendingCopy> copies_;
  std::vector<PageHold> copy_sources_;  // Keeps the sources of copies_ alive.
  std::vector<int64_t> own_pages_;      // By tenant, as counted last, and what was promised since.
  int64_t promised_ = 0;
  std::vector<const PrefixIndex::Node*> chain_;  // Scratch of Extend.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_KV_CACHE_H_
