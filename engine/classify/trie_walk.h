// Which nodes of a trie are fed to the model next, and in which scratch slot each keeps its keys
// and values. A slot is taken from the moment a node is fed until its subtree is done, so that the
// scratch memory does not grow with the trie: slots are those of the nodes on the way, and of one
// batch.
//
// All candidates: in preorder, so parents and children go in one batch. The best k only
// (specification: docs/classification.md): best bound first, in batches of a few rows; a subtree
// whose bound is below the k-th best complete score is left out. Where slots run short, the deepest
// ready node goes first, which always ends.
//
// Pure logic without memory of its own for keys; one thread.
#ifndef PREFIXD_ENGINE_CLASSIFY_TRIE_WALK_H_
#define PREFIXD_ENGINE_CLASSIFY_TRIE_WALK_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/types/span.h"
#include "engine/classify/candidate_bounds.h"
#include "engine/classify/token_trie.h"
#include "engine/classify/top_search.h"

namespace prefixd {

class TrieWalk {
 public:
  // Rows of a batch while only the best are wanted: few enough to prune much, enough to fill a
  // pass.
  static constexpr int32_t kSearchRows = 32;

  struct Options {
    int32_t num_slots = 0;           // >= SlotsFor(trie, 1).
    bool one_at_a_time = false;      // One row a batch.
    const TopSearch* top = nullptr;  // Null: all candidates. Must outlive the walk.
  };

  // Slots with which every batch of up to `max_rows` rows can be full: at most one for each
  // internal node, and max_rows + the depth of the trie.
  static int32_t SlotsFor(const TokenTrie& trie, int32_t max_rows);

  // `trie` must outlive the walk.
  TrieWalk(const TokenTrie* trie, const Options& options);

  // Nodes to feed, ancestors before their descendants; and for each of them the slots of its path,
  // outermost first, its own last: those of node i are path_slots[path_begins[i]] up to
  // path_begins[i + 1]. As in KvSegment.
  struct Rows {
    std::vector<int32_t> nodes;
    std::vector<int32_t> path_begins;  // [nodes + 1].
    std::vector<int32_t> path_slots;
    int32_t slot(size_t i) const { return path_slots[static_cast<size_t>(path_begins[i + 1]) - 1]; }
  };

  // How many rows Take(max_rows) would give now. 0: the walk is done, or waits for scores.
  int32_t NumReady(int32_t max_rows) const;
  // Takes NumReady(max_rows) rows. Requires: the scores of what was taken before have come.
  // The result is valid until the next call.
  const Rows& Take(int32_t max_rows);

  // The log-probs of the children of `node` (the root, or one that was taken), in their order, each
  // <= 0 (what rounding put above is taken as 0). For the root first; then once for every node that
  // was taken, in any order. Of nodes that are scored already (Rewind) nothing changes.
  void SetChildLogprobs(int32_t node, absl::Span<const float> logprobs);

  // Whether every candidate is scored, or known not to be among the best.
  bool done() const;

  // Keys and values are lost: nodes whose subtrees are not done are fed again. What was scored
  // stays.
  void Rewind();

  // By node: the log-prob of its token behind its parent; NaN for the root and what was left out.
  absl::Span<const float> logprobs() const;
  int64_t num_taken() const;  // Rows so far; those fed again count again.

 private:
  // Which of two ready nodes goes first.
  struct Ready {
    double bound;
    int32_t depth;
    int32_t node;
  };
  struct BestFirst {
    bool operator()(const Ready& a, const Ready& b) const {
      return a.bound != b.bound ? a.bound > b.bound : a.node < b.node;
    }
  };
  struct DeepestFirst {
    bool operator()(const Ready& a, const Ready& b) const {
      return a.depth != b.depth ? a.depth > b.depth : BestFirst()(a, b);
    }
  };

  bool searching() const { return candidates_ != nullptr; }
  size_t NumInOrder(int32_t max_rows) const;
  void ReleaseBeforeNext();  // Slots of nodes that are no ancestors of the next in order.
  void RewindOrder();

  bool SlotsAreScarce() const { return num_slots_ < trie_->num_internal(); }
  // The rows of the next batch of a search.
  std::vector<int32_t> Choose(int32_t max_rows) const;
  Ready ReadyOf(int32_t node) const;
  void AddReady(int32_t node);
  void RemoveReady(int32_t node);
  void AddReadyChildren(int32_t node);  // Those whose subtrees are not done.
  void CompleteChildren(int32_t node);  // Their sums, bounds and candidates, once they are known.
  void FinishSubtree(int32_t node);     // And of ancestors that waited for it alone.
  void Prune();
  void RewindSearch();

  void AppendRow(int32_t node);
  void ReleaseSlot(int32_t node);
  void ReleaseAllSlots();

  const TokenTrie* const trie_;
  const int32_t num_slots_;
  const bool one_at_a_time_;

  // By node.
  std::vector<float> logprobs_;
  std::vector<uint8_t> scored_;   // The log-probs of its children are known.
  std::vector<uint8_t> pending_;  // Taken, and they are yet to come.
  std::vector<int32_t> slots_;    // -1: none.

  std::vector<int32_t> free_slots_;
  std::vector<int32_t> taken_;  // Of the last batch.
  int32_t num_pending_ = 0;
  int64_t num_taken_ = 0;
  Rows rows_;

  // All candidates: the internal nodes in preorder, those from next_ on not yet taken, and those
  // with slots.
  std::vector<int32_t> order_;
  size_t next_ = 0;
  std::vector<int32_t> live_;

  // The best only. By node: the sum of the log-probs from the root to it, and what the candidates
  // below it can reach at most; how many internal children have subtrees that are not done.
  std::unique_ptr<CandidateBounds> candidates_;
  std::vector<double> sums_;
  std::vector<double> bounds_;
  std::vector<int32_t> open_children_;
  std::vector<uint8_t> done_;
  std::vector<uint8_t> keeps_slot_;  // It has internal children: others will need its keys.
  absl::btree_set<Ready, BestFirst> best_first_;
  absl::btree_set<Ready, DeepestFirst> deepest_first_;  // The same nodes; only if slots are scarce.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_TRIE_WALK_H_
