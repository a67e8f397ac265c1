// The candidates of a scoring request as one tree of tokens: what they begin with alike is there
// once. Node 0 is the root, the end of the context; nodes are in preorder, children in ascending
// order of their token, so the order in which candidates are given shows nowhere. Immutable; safe
// from any thread.
#ifndef PREFIXD_ENGINE_CLASSIFY_TOKEN_TRIE_H_
#define PREFIXD_ENGINE_CLASSIFY_TOKEN_TRIE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace prefixd {

class TokenTrie {
 public:
  struct Node {
    int32_t token = -1;   // Of the root: none.
    int32_t parent = -1;  // Of the root: none.
    int32_t depth = 0;    // Tokens from the root to it.
    int32_t end = 0;      // One past the last node of its subtree.
  };

  // kNothing: every candidate has a chain of nodes of its own, chains in lexicographic order of
  // their tokens, equal ones in the order given.
  enum class Merge { kPrefixes, kNothing };

  // Requires: no sequence is empty; their lengths together are below 2^31.
  static TokenTrie Build(absl::Span<const std::vector<int32_t>> sequences,
                         Merge merge = Merge::kPrefixes);

  absl::Span<const Node> nodes() const { return nodes_; }
  const Node& node(int32_t i) const { return nodes_[static_cast<size_t>(i)]; }
  // The last node of each sequence, in the order given; equal sequences share it (kPrefixes).
  absl::Span<const int32_t> ends() const { return ends_; }

  // Children of i: first_child(i), then next_sibling of that, up to node(i).end.
  bool is_internal(int32_t i) const { return node(i).end > i + 1; }
  static int32_t first_child(int32_t i) { return i + 1; }
  int32_t next_sibling(int32_t i) const { return node(i).end; }
  std::vector<int32_t> ChildrenOf(int32_t i) const;

  // Nodes with children, the root left out: the rows that scoring every candidate takes.
  int32_t num_internal() const { return num_internal_; }
  // Tokens of all sequences. Scored one by one, each takes a row for every token but its last.
  int64_t num_tokens() const { return num_tokens_; }
  int64_t rows_one_by_one() const { return num_tokens_ - static_cast<int64_t>(ends_.size()); }
  // Of the longest sequence.
  int32_t max_depth() const { return max_depth_; }

 private:
  std::vector<Node> nodes_;
  std::vector<int32_t> ends_;
  int32_t num_internal_ = 0;
  int32_t max_depth_ = 0;
  int64_t num_tokens_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_CLASSIFY_TOKEN_TRIE_H_
