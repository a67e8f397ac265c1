// PrefixIndex: visits of everything, and the recount.
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "base/check.h"
#include "cache/column.h"
#include "cache/prefix_index.h"
#include "cache/prefix_node.h"

namespace prefixd {

void PrefixIndex::ForEachNode(absl::FunctionRef<void(Node* node)> visit) const {
  std::vector<Node*> stack;  // No recursion: a chain may be as deep as the context is long.
  for (const auto& [key, root] : roots_) {
    stack.push_back(root);
    while (!stack.empty()) {
      Node* node = stack.back();
      stack.pop_back();
      stack.insert(stack.end(), node->children.rbegin(), node->children.rend());
      visit(node);
    }
  }
}

void PrefixIndex::ForEachPage(absl::FunctionRef<void(PageId page, bool pinned)> visit) const {
  ForEachNode([&](const Node* node) {
    for (const PageRef& page : node->pages) visit(page.id(), node->protections > 0);
  });
}

void PrefixIndex::CheckInvariants() const {
  std::vector<int64_t> pages(tenants_.size()), evictable(tenants_.size()), in_heap(tenants_.size());
  absl::flat_hash_set<const Node*> nodes;
  int64_t pins = 0;
  size_t num_columns = 0;
  ForEachNode([&](const Node* node) {
    PREFIXD_CHECK(nodes.insert(node).second);
    CheckNode(node);
    int32_t protected_children = 0;
    for (const Node* child : node->children) protected_children += child->protections > 0;
    PREFIXD_CHECK(node->protections >= protected_children);
    pins += node->protections - protected_children;
    if (node->is_root()) return;
    ++num_columns;
    pages[node->tenant] += options_.num_layers;
    if (node->protections == 0) evictable[node->tenant] += options_.num_layers;
    in_heap[node->tenant] += node->heap_index != Node::kNotInHeap;
  });
  PREFIXD_CHECK(pins == num_pins_);
  PREFIXD_CHECK(num_columns == columns_.size());
  columns_.CheckInvariants();
  PREFIXD_CHECK(ghosts_.size() <= options_.max_ghosts);
  for (size_t i = 0; i < tenants_.size(); ++i) {
    PREFIXD_CHECK(pages[i] == tenants_[i].num_pages);
    PREFIXD_CHECK(evictable[i] == tenants_[i].evictable_pages);
    PREFIXD_CHECK(static_cast<size_t>(in_heap[i]) == tenants_[i].leaves.size());
    tenants_[i].leaves.CheckInvariants();
  }
  PREFIXD_CHECK(counters_.published - counters_.evicted == columns_.size());
}

void PrefixIndex::CheckNode(const Node* node) const {
  const Node* before = nullptr;
  for (const Node* child : node->children) {
    PREFIXD_CHECK(child->parent == node);
    PREFIXD_CHECK(before == nullptr || ByContent()(before, child));
    before = child;
  }
  if (node->is_root()) {
    const auto found = roots_.find(node->key);
    PREFIXD_CHECK(found != roots_.end() && found->second == node);
    PREFIXD_CHECK(node->depth == 0 && node->pages.empty());
    PREFIXD_CHECK(!node->is_leaf() || node->protections > 0);
    return;
  }
  PREFIXD_CHECK(node->tenant == node->parent->tenant);
  PREFIXD_CHECK(node->depth == node->parent->depth + 1);
  PREFIXD_CHECK(node->cost >= 1 && node->use_clock <= clock_ && node->last_use <= num_uses_);
  PREFIXD_CHECK(node->pages.size() == static_cast<size_t>(options_.num_layers));
  PREFIXD_CHECK(node->key == Cut(node->key));
  uint64_t collisions = 0;
  PREFIXD_CHECK(FindColumn(node->key, node->parent, node->content(), &collisions) == node);
  const bool in_heap = node->heap_index != Node::kNotInHeap;
  PREFIXD_CHECK(in_heap ? node->is_leaf() : !node->is_leaf() || node->protections > 0);
  PREFIXD_CHECK(!in_heap || node->heap_index < tenants_[node->tenant].leaves.size());
}

}  // namespace prefixd
