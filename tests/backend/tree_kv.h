// Random trees of rows behind a context in paged KV (KvSegment::path_slots), for tests of WriteKv
// and PagedAttention.
#ifndef PREFIXD_TESTS_BACKEND_TREE_KV_H_
#define PREFIXD_TESTS_BACKEND_TREE_KV_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tests/backend/attention_in_double.h"
#include "tests/backend/paged_kv.h"

namespace prefixd {

// Nodes in an order in which parents come first; a node may have others than its parent before it.
struct TreeShape {
  int32_t context = 1;
  std::vector<int32_t> parents;  // -1: a root, right behind the context.

  int32_t size() const { return static_cast<int32_t>(parents.size()); }
  std::vector<int32_t> Path(int32_t node) const;  // Outermost first, last the node.
};

// About max_depth levels; every node's parent is one of the 9 nodes before it or none.
TreeShape RandomTree(RandomValues* random, int32_t context, int32_t num_nodes, int32_t max_depth);
// One path.
TreeShape Chain(int32_t context, int32_t num_nodes);

// A tree whose context and nodes lie in scrambled pages of a poisoned pool, nodes in slots behind
// the context in any order and with gaps. The pool has kSparePages more than it needs.
class TreeKv {
 public:
  static constexpr int32_t kSparePages = 3;

  // `qkv`: of the context's tokens, then of the nodes. Writes K and V of them all.
  TreeKv(Backend* backend, const AttentionShape& shape, const TreeShape& tree,
         const HostMatrix& qkv, int32_t first_position, RandomValues* random);

  // Rows [begin, begin + count) of the nodes as a segment whose rows begin at row_begin. What it
  // points at lives until the next call for the same rows, or as long as this.
  KvSegment Segment(int32_t begin, int32_t count, int32_t row_begin);
  // Attention of rows that are given as [count, qkv_cols].
  HostMatrix Attend(const HostMatrix& qkv, absl::Span<const KvSegment> segments) const;
  // Of the nodes in calls of `rows_per_call` rows, each of segments of rows_per_segment rows.
  HostMatrix AttendNodes(int32_t rows_per_call, int32_t rows_per_segment);

  KvPool* pool() const { return pool_.get(); }
  const std::vector<int32_t>& pages() const { return pages_; }
  absl::Span<const int32_t> spare_pages() const { return spare_pages_; }

 private:
  Backend* const backend_;
  const AttentionShape shape_;
  const TreeShape tree_;
  const HostMatrix qkv_;
  const int32_t first_position_;
  std::vector<int32_t> pages_, spare_pages_;
  std::vector<int32_t> slots_;  // Of the nodes.
  std::vector<int32_t> begins_, paths_;
  std::unique_ptr<KvPool> pool_;
};

// Every node attends alone, at the end of a plain sequence that consists of the context and its
// path.
HostMatrix NodesAsSequences(Backend* backend, const AttentionShape& shape, const TreeShape& tree,
                            const HostMatrix& qkv, int32_t first_position);

// The same as loops in double.
HostMatrix NodesInDouble(const AttentionShape& shape, const TreeShape& tree, const HostMatrix& qkv);

}  // namespace prefixd

#endif  // PREFIXD_TESTS_BACKEND_TREE_KV_H_
