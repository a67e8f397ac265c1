// Which prefixes have their KV in pages: a tree of columns under one root per namespace. A column
// holds one page a layer and is immutable. A hit requires equal tokens, equal images and the same
// parent node; keys only find candidates. Ids and integers only. Engine thread only.
//
// A pinned node stays, and so do its ancestors. Of the rest, leaves go first, in the order of
// GreedyDual (Young, 1994): each use sets a leaf's priority to the clock plus its cost of
// recomputation per page, the lowest goes, and the clock moves up to it.
#ifndef PREFIXD_CACHE_PREFIX_INDEX_H_
#define PREFIXD_CACHE_PREFIX_INDEX_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "cache/content.h"
#include "cache/eviction_heap.h"
#include "cache/ghost_keys.h"
#include "cache/key_table.h"
#include "cache/page_pool.h"

namespace prefixd {

struct ColumnView;
class NodePool;
struct PrefixNode;

// Why a lookup did not match every token that it was allowed to match.
enum class MissReason : uint8_t {
  kNone,       // It did.
  kNotCached,  // Nothing is known of what follows.
  kEvicted,    // The next column was cached once (as far as a bounded memory of keys tells).
  kDiverged,   // Something else is cached at this place: the tokens differ from here on.
  kNoScores,   // More is cached, without the scores that were asked for.
};

class PrefixIndex {
 public:
  using Node = PrefixNode;  // A column, or a root. Opaque outside.

  // Keeps a node and its ancestors in the index. Move-only; null when default-constructed or moved
  // from. Must not outlive the index.
  class Pin {
   public:
    Pin() = default;
    Pin(Pin&& other) noexcept
        : index_(std::exchange(other.index_, nullptr)),
          node_(std::exchange(other.node_, nullptr)) {}
    Pin& operator=(Pin&& other) noexcept {
      std::swap(index_, other.index_);
      std::swap(node_, other.node_);
      return *this;
    }
    ~Pin();

    explicit operator bool() const { return node_ != nullptr; }
    Node* node() const { return node_; }
    Pin Clone() const;

   private:
    friend class PrefixIndex;
    Pin(PrefixIndex* index, Node* node) : index_(index), node_(node) {}

    PrefixIndex* index_ = nullptr;
    Node* node_ = nullptr;
  };

  struct Options {
    int num_layers = 0;        // >= 1.
    int key_bits = 256;        // Tests cut keys to force collisions.
    size_t max_ghosts = 8192;  // Keys of evicted columns that are remembered.
  };

  explicit PrefixIndex(const Options& options);
  // Requires: no pin is left. Gives all pages back.
  ~PrefixIndex();
  PrefixIndex(const PrefixIndex&) = delete;
  PrefixIndex& operator=(const PrefixIndex&) = delete;

  // The root of a namespace, made if need be; a root without children and pins is dropped.
  // `tenant` (>= 0, small) is who the pages below it are accounted to.
  Pin Root(const ContentKey& root_key, int32_t tenant);

  struct Match {
    Pin pin;                     // The last node whose column matched whole; `from` if none did.
    int32_t num_columns = 0;     // Columns from the root to `pin`.
    Pin partial;                 // A child of `pin` whose first tokens match; null: none.
    int32_t partial_tokens = 0;  // 1..kSlotsPerPage - 1 of them.
    MissReason reason = MissReason::kNone;
    // Of the matched tokens only; the partial ones included.
    int32_t num_tokens() const { return num_columns * kSlotsPerPage + partial_tokens; }
  };
  // The longest match of `tokens`, going on from `from` (whose columns the caller knows to match),
  // of at most `max_tokens` tokens in all. keys[i] is the key of column i of `tokens`, at least
  // for every full column up to max_tokens. Among several partial matches the longest wins.
  // A use: what matched is freshened. O(columns + log(children of the last match)).
  // Requires: max_tokens covers the columns of `from`.
  Match Find(const Pin& from, TokenView tokens, absl::Span<const ContentKey> keys,
             int32_t max_tokens);

  // Takes columns off the end of a match until its last one has scores, down to `min_columns`; the
  // partial column goes too. A match that this takes something of has the reason kNoScores.
  void CutToScores(int32_t min_columns, Match* match);

  // The number of tokens that Find would match from the root, without side effects; 0 if the root
  // is unknown.
  int32_t Peek(const ContentKey& root_key, TokenView tokens, absl::Span<const ContentKey> keys,
               int32_t max_tokens) const;

  // Pages of a node, by layer; empty for a root.
  absl::Span<const PageRef> pages(const Node* node) const;
  // Columns from the root to `node`; 0 for a root.
  int32_t depth(const Node* node) const;
  int32_t tenant(const Node* node) const;
  // Requires: not a root.
  const Node* parent(const Node* node) const;

  // Adds the column of `tokens` that follows `parent`; pages: [num_layers], claims of the index.
  // `cost` (>= 1) is the relative cost of computing the column again. If an equal column is there,
  // the pages are dropped and that one is returned.
  Pin Publish(const Pin& parent, const ContentKey& key, TokenView tokens,
              std::vector<PageRef> pages, uint32_t cost);

  // Scores stored with a node; null if there are none, or it is a root.
  const ScoreSums& scores(const Node* node) const;
  // Stores them, if there are none. Requires: not a root; [num_layers][tokens up to its end].
  void AttachScores(const Pin& pin, ScoreSums scores);
  // Of scores and yields.
  uint64_t score_bytes() const { return score_bytes_; }

  // As CutToScores, but the last column must have a yield with log-probs. Yields are attached from
  // the root on, so that all columns before it have one too.
  void CutToYields(int32_t min_columns, Match* match);
  // What the node's rows yielded; null if that is not known, or it is a root.
  const std::shared_ptr<const ColumnYield>& yield(const Node* node) const;
  // Stores it, if nothing is known, or log-probs are not. Requires: not a root.
  void AttachYield(const Node* node, std::shared_ptr<const ColumnYield> yield);

  // The clock of eviction, for what is evicted beside the columns; it moves to what was evicted.
  uint64_t clock() const { return clock_; }
  void AdvanceClock(uint64_t priority) { clock_ = std::max(clock_, priority); }
  // The priority of the column of `tenant` (any: -1) that Evict would drop next.
  std::optional<uint64_t> LowestPriority(int32_t tenant);

  // Drops unpinned leaves of `tenant` (any: -1) until `num_pages` pages were given up or none is
  // left. Returns the number of pages given up.
  int64_t Evict(int64_t num_pages, int32_t tenant);

  // Pages that Evict could give up now: those of nodes without a pin at or below them.
  int64_t evictable_pages() const;
  int64_t evictable_pages(int32_t tenant) const;
  // Pages of all nodes.
  int64_t num_pages() const;
  int64_t num_pages(int32_t tenant) const;
  int64_t num_columns() const;

  struct Counters {
    uint64_t published = 0;   // Columns added.
    uint64_t duplicates = 0;  // Publish found an equal column.
    uint64_t evicted = 0;     // Columns dropped.
    uint64_t collisions = 0;  // Equal keys whose parent, tokens or images differed.
  };
  const Counters& counters() const;

  // Calls `visit(page, pinned)` for the page of every column and layer; pinned: there is a pin at
  // or below the column.
  void ForEachPage(absl::FunctionRef<void(PageId page, bool pinned)> visit) const;

  // Crashes unless the tree, the key table, the order of eviction and all counts agree.
  void CheckInvariants() const;

 private:
  struct Tenant {
    int64_t num_pages = 0;
    int64_t evictable_pages = 0;
    EvictionHeap leaves;  // All unprotected ones, and some that are pinned.
  };
  struct Walked {
    Node* last;              // The last node whose column matched whole.
    Node* partial;           // See Match.
    int32_t partial_tokens;  // 0 if `partial` is null.
    uint64_t collisions;
  };

  // The part of a key that counts.
  ContentKey Cut(const ContentKey& key) const;
  uint64_t Tag(const ContentKey& key) const;

  // The column under `key` that follows `parent` and holds the same; null if there is none.
  Node* FindColumn(const ContentKey& key, const Node* parent, const ColumnView& column,
                   uint64_t* collisions) const;
  // Asks the CPU for the nodes of `keys`.
  void Prefetch(absl::Span<const ContentKey> keys, bool with_media) const;
  Walked Walk(Node* from, TokenView tokens, absl::Span<const ContentKey> keys,
              int32_t num_tokens) const;
  // Where the longest partial match is, among the children of walked->last.
  void WalkPartial(const ColumnView& rest, Walked* walked) const;
  MissReason WhyNotMore(const Walked& walked, absl::Span<const ContentKey> keys) const;

  Pin PinNode(Node* node);
  void Protect(Node* node);
  void Unprotect(Node* node);
  void Unpin(Node* node);
  // Requires: protected.
  void Use(Node* node);
  void DropRootIfUnused(Node* root);
  void CutTo(absl::FunctionRef<bool(const Node& node)> has_it, int32_t min_columns, Match* match);
  // The leaf to evict next, null if there is none.
  Node* Victim(int32_t tenant);
  void EvictLeaf(Node* leaf);

  // Parents come before their children.
  void ForEachNode(absl::FunctionRef<void(Node* node)> visit) const;
  void CheckNode(const Node* node) const;

  const Options options_;
  std::unique_ptr<NodePool> pool_;  // Owns all nodes.
  std::map<ContentKey, Node*> roots_;
  KeyTable columns_;
  GhostKeys ghosts_;
  std::vector<Tenant> tenants_;
  uint64_t clock_ = 0;     // The highest priority that was evicted.
  uint64_t num_uses_ = 0;  // Numbers them.
  int64_t num_pins_ = 0;
  uint64_t score_bytes_ = 0;
  Counters counters_;
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_PREFIX_INDEX_H_
