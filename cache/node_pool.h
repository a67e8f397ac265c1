// Memory for the nodes of the prefix index. Those made one after the other, as by the chunks of a
// prefill, lie side by side. Kept until the pool ends. Engine thread only.
#ifndef PREFIXD_CACHE_NODE_POOL_H_
#define PREFIXD_CACHE_NODE_POOL_H_

#include <cstddef>
#include <vector>

#include "cache/huge_pages.h"
#include "cache/prefix_node.h"

namespace prefixd {

class NodePool {
 public:
  NodePool() = default;
  NodePool(const NodePool&) = delete;
  NodePool& operator=(const NodePool&) = delete;

  PrefixNode* New();
  // Requires: `node` is from this pool. All of them are deleted before the pool ends.
  void Delete(PrefixNode* node);

 private:
  void Grow();

  std::vector<HugeMemory> blocks_;
  std::vector<void*> free_;  // A stack.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_NODE_POOL_H_
