#include "engine/classify/token_trie.h"

#include <algorithm>
#include <numeric>

#include "base/check.h"

namespace prefixd {

TokenTrie TokenTrie::Build(absl::Span<const std::vector<int32_t>> sequences, Merge merge) {
  TokenTrie trie;
  trie.nodes_.push_back({});
  trie.ends_.resize(sequences.size());
  std::vector<int32_t> order(sequences.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&sequences](int32_t a, int32_t b) {
    return sequences[static_cast<size_t>(a)] < sequences[static_cast<size_t>(b)];
  });
  std::vector<int32_t> path = {0};  // Nodes from the root to the one added last.
  for (const int32_t k : order) {
    const std::vector<int32_t>& tokens = sequences[static_cast<size_t>(k)];
    PREFIXD_CHECK(!tokens.empty());
    size_t common = 0;  // Tokens that lie on the path.
    while (merge == Merge::kPrefixes && common < tokens.size() && common + 1 < path.size() &&
           trie.node(path[common + 1]).token == tokens[common]) {
      ++common;
    }
    path.resize(common + 1);
    for (size_t i = common; i < tokens.size(); ++i) {
      const int32_t node = static_cast<int32_t>(trie.nodes_.size());
      trie.nodes_.push_back(
          {.token = tokens[i], .parent = path.back(), .depth = static_cast<int32_t>(path.size())});
      path.push_back(node);
    }
    trie.ends_[static_cast<size_t>(k)] = path.back();
    trie.num_tokens_ += static_cast<int64_t>(tokens.size());
    trie.max_depth_ = std::max(trie.max_depth_, static_cast<int32_t>(tokens.size()));
  }
  // A node's subtree ends where the last of its descendants does; children come after parents.
  for (int32_t i = static_cast<int32_t>(trie.nodes_.size()) - 1; i >= 0; --i) {
    Node& node = trie.nodes_[static_cast<size_t>(i)];
    node.end = std::max(node.end, i + 1);
    if (i > 0) {
      Node& parent = trie.nodes_[static_cast<size_t>(node.parent)];
      parent.end = std::max(parent.end, node.end);
      trie.num_internal_ += node.end > i + 1 ? 1 : 0;
    }
  }
  return trie;
}

std::vector<int32_t> TokenTrie::ChildrenOf(int32_t i) const {
  std::vector<int32_t> children;
  for (int32_t child = first_child(i); child < node(i).end; child = next_sibling(child)) {
    children.push_back(child);
  }
  return children;
}

}  // namespace prefixd
