#include "cache/page_pool.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace prefixd {
namespace {

TEST(PagePool, HandsOutEveryPageOnceAndThenNone) {
  PagePool pool(3);
  std::vector<PageRef> pages;
  std::vector<bool> seen(3);
  for (int i = 0; i < 3; ++i) {
    pages.push_back(*pool.Allocate());
    EXPECT_FALSE(seen[pages.back().id()]);
    seen[pages.back().id()] = true;
    pool.CheckInvariants();
  }
  EXPECT_EQ(pool.num_free(), 0);
  EXPECT_FALSE(pool.Allocate().has_value());
}

TEST(PagePool, OfNoPagesHasNothingToGive) {
  PagePool pool(0);
  EXPECT_FALSE(pool.Allocate().has_value());
  pool.CheckInvariants();
}

TEST(PagePool, GivesBackPagesWhenARefDies) {
  PagePool pool(2);
  PageId id;
  {
    const PageRef page = *pool.Allocate();
    id = page.id();
    EXPECT_EQ(pool.num_free(), 1);
  }
  EXPECT_EQ(pool.num_free(), 2);
  EXPECT_EQ(pool.Allocate()->id(), id) << "the most recently freed page comes first";
  pool.CheckInvariants();
}

TEST(PagePool, KeepsASharedPageUntilItsLastRefDies) {
  PagePool pool(1);
  std::vector<PageRef> refs;
  refs.push_back(*pool.Allocate());
  EXPECT_FALSE(refs[0].shared());
  refs.push_back(refs[0].Share());
  EXPECT_TRUE(refs[0].shared());
  EXPECT_TRUE(refs[1].shared());
  EXPECT_EQ(refs[0].id(), refs[1].id());
  EXPECT_EQ(pool.ref_count(refs[0].id()), 2);
  refs.erase(refs.begin());
  EXPECT_FALSE(refs[0].shared());
  EXPECT_EQ(pool.num_free(), 0);
  refs.clear();
  EXPECT_EQ(pool.num_free(), 1);
}

TEST(PagePool, KeepsAHeldPageWithoutCallingItShared) {
  PagePool pool(1);
  std::vector<PageHold> holds;
  {
    const PageRef page = *pool.Allocate();
    holds.push_back(page.Hold());
    holds.push_back(page.Hold());
    EXPECT_FALSE(page.shared());
  }
  EXPECT_EQ(pool.num_free(), 0);
  pool.CheckInvariants();
  holds.pop_back();
  EXPECT_EQ(pool.num_free(), 0);
  holds.clear();
  EXPECT_EQ(pool.num_free(), 1);
  pool.CheckInvariants();
}

TEST(PageRef, MovesItsClaimInsteadOfCopyingIt) {
  PagePool pool(2);
  PageRef a = *pool.Allocate();
  PageRef b = *pool.Allocate();
  const PageId id = a.id();
  b = std::move(a);
  EXPECT_EQ(b.id(), id);
  EXPECT_EQ(pool.ref_count(id), 1);
  const PageRef c = std::move(b);
  EXPECT_EQ(c.id(), id);
  EXPECT_EQ(pool.ref_count(id), 1);
}

TEST(PagePoolDeathTest, DiesWithPagesStillOut) {
  EXPECT_DEATH(
      {
        PagePool* pool = new PagePool(1);
        const PageRef page = *pool->Allocate();
        delete pool;
      },
      "num_free\\(\\) == num_pages\\(\\)");
}

}  // namespace
}  // namespace prefixd
