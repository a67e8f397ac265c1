// Counts the heap allocations of this whole program.
#include <cstdint>
#include <cstdlib>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include "cache/prefix_index.h"
#include "tests/cache/prefix_fixture.h"

namespace {
thread_local int64_t num_allocations = 0;
}  // namespace

// Not inlined, or else the compiler sees memory of one kind given back as another.
[[gnu::noinline]] void* operator new(size_t size) {
  ++num_allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) std::abort();
  return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace prefixd {
namespace {

TEST(PrefixIndex, LooksUpWithoutTheHeap) {
  PagePool pool(64);
  PrefixIndex index({.num_layers = 1});
  const ContentKey root = testing::TestRoot("a");
  const testing::Text text = testing::Text().Count(0, 20).Image(1, 500).Count(0, 8);
  testing::PublishAll(&index, &pool, 1, root, 0, text);
  const PrefixIndex::Pin from = index.Root(root, 0);
  const std::vector<ContentKey> keys = ColumnKeys(root, text.view());
  index.Find(from, text.view(), keys, text.size());  // Warms up.
  const int64_t before = num_allocations;
  EXPECT_EQ(index.Find(from, text.view(), keys, text.size()).num_columns, 33);
  EXPECT_EQ(index.Find(from, text.view(), keys, text.size() - 1).partial_tokens, 15);
  EXPECT_EQ(index.Peek(root, text.view(), keys, 100), 100);
  const ContentKey key = ColumnKey(root, text.view(), 1);
  EXPECT_EQ(num_allocations, before) << "neither lookups nor hashing allocate";
  EXPECT_NE(key, keys[0]);
}

}  // namespace
}  // namespace prefixd
