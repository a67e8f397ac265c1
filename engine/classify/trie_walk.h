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

#include "absl/types/span.h"
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
  // <= 0. For the root first; then once for every node that was taken, in any order.
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
  // To be filled in by the implementation.
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_TRIE_WALK_H_
