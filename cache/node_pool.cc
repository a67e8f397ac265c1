#include "cache/node_pool.h"

#include <algorithm>
#include <new>

namespace prefixd {
namespace {

constexpr size_t kFirstBlockNodes = 256;
constexpr size_t kBlockNodes = kHugePageBytes / sizeof(PrefixNode);

}  // namespace

PrefixNode* NodePool::New() {
#ifdef __SANITIZE_ADDRESS__
  return new PrefixNode();  // So that the use of a deleted one is seen.
#else
  if (free_.empty()) Grow();
  void* memory = free_.back();
  free_.pop_back();
  return new (memory) PrefixNode();
#endif
}

void NodePool::Delete(PrefixNode* node) {
#ifdef __SANITIZE_ADDRESS__
  delete node;
#else
  node->~PrefixNode();
  free_.push_back(node);
#endif
}

void NodePool::Grow() {
  const size_t count = blocks_.empty() ? kFirstBlockNodes : kBlockNodes;
  blocks_.push_back(AllocateZeros(count * sizeof(PrefixNode)));
  auto* memory = static_cast<std::byte*>(blocks_.back().get());
  for (size_t i = count; i > 0; --i) free_.push_back(memory + (i - 1) * sizeof(PrefixNode));
}

}  // namespace prefixd
