#include "cache/kv_cache.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;

TEST(KvCache, CountsThePagesOfATokenCount) {
  const KvCache cache(3, 10);
  EXPECT_EQ(cache.PagesForTokens(0), 0);
  EXPECT_EQ(cache.PagesForTokens(1), 3);
  EXPECT_EQ(cache.PagesForTokens(16), 3);
  EXPECT_EQ(cache.PagesForTokens(17), 6);
  EXPECT_EQ(cache.PagesForTokens(int64_t{1} << 60), 3 * (int64_t{1} << 56));
}

TEST(KvCache, PlacesTheTokensOfEveryLayer) {
  KvCache cache(2, 8);
  KvSequence sequence(2);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&sequence, 2, &placement));
  EXPECT_THAT(placement.write_slots, ElementsAre(ElementsAre(0, 1), ElementsAre(0, 1)));
  EXPECT_THAT(placement.first_visible, ElementsAre(1, 1));
  ASSERT_TRUE(cache.Append(&sequence, 1, &placement));
  EXPECT_THAT(placement.write_slots, ElementsAre(ElementsAre(2), ElementsAre(2)));
  EXPECT_THAT(placement.first_visible, ElementsAre(3, 3));
  EXPECT_EQ(sequence.next_position(), 3);
  EXPECT_THAT(sequence.layer(1).positions(), ElementsAre(0, 1, 2));
  EXPECT_EQ(sequence.num_pages(), 2);
  EXPECT_NE(sequence.layer(0).page_ids()[0], sequence.layer(1).page_ids()[0]);
  cache.CheckInvariants({&sequence});
}

TEST(KvCache, ChangesNothingWhenPagesLack) {
  KvCache cache(2, 5);
  KvSequence sequence(2);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&sequence, 30, &placement));
  EXPECT_EQ(cache.num_free_pages(), 1);
  EXPECT_EQ(cache.PagesToAppend(sequence, 3), 2);
  EXPECT_FALSE(cache.Append(&sequence, 3, &placement));
  EXPECT_EQ(sequence.next_position(), 30);
  EXPECT_EQ(sequence.layer(0).length(), 30);
  EXPECT_EQ(sequence.num_pages(), 4);
  EXPECT_EQ(cache.num_free_pages(), 1);
  EXPECT_TRUE(cache.copies().empty());
  cache.CheckInvariants({&sequence});
  EXPECT_TRUE(cache.Append(&sequence, 2, &placement));
}

TEST(KvCache, ForksShareEverythingUntilTheyWrite) {
  KvCache cache(2, 8);
  KvSequence parent(2);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&parent, 20, &placement));
  KvSequence child = cache.Fork(parent);
  EXPECT_EQ(child.next_position(), 20);
  EXPECT_EQ(cache.num_free_pages(), 4);
  cache.CheckInvariants({&parent, &child});

  EXPECT_EQ(cache.PagesToAppend(child, 1), 2);
  ASSERT_TRUE(cache.Append(&child, 1, &placement));
  EXPECT_EQ(cache.copies().size(), 2u);
  cache.CheckInvariants({&parent, &child});
  cache.ClearCopies();
  EXPECT_TRUE(cache.copies().empty());
  EXPECT_EQ(cache.num_free_pages(), 2);

  EXPECT_EQ(cache.PagesToAppend(parent, 1), 0);
  ASSERT_TRUE(cache.Append(&parent, 1, &placement));
  EXPECT_TRUE(cache.copies().empty());
  cache.CheckInvariants({&parent, &child});
}

TEST(KvCache, EightForksInOneStepTakeSevenCopies) {
  KvCache cache(1, 9);
  std::vector<KvSequence> forks;
  forks.emplace_back(1);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&forks[0], 17, &placement));
  for (int i = 1; i < 8; ++i) forks.push_back(cache.Fork(forks[0]));
  std::vector<const KvSequence*> all;
  for (const KvSequence& fork : forks) all.push_back(&fork);
  EXPECT_EQ(cache.OwnPages(all), 2);
  EXPECT_EQ(cache.PagesToAppendOneEach(all), 7);
  for (KvSequence& fork : forks) EXPECT_TRUE(cache.Append(&fork, 1, &placement));
  EXPECT_EQ(cache.copies().size(), 7u);
  EXPECT_EQ(cache.num_free_pages(), 0);
  EXPECT_EQ(cache.OwnPages(all), 9);
  cache.CheckInvariants(all);
  cache.ClearCopies();
}

TEST(KvCache, AForkThatWritesAloneCopies) {
  KvCache cache(2, 8);
  KvSequence parent(2);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&parent, 17, &placement));
  const KvSequence child = cache.Fork(parent);
  EXPECT_EQ(cache.PagesToAppendOneEach({&child}), 2);
  EXPECT_EQ(cache.PagesToAppendOneEach({&parent, &child}), 2);
  EXPECT_EQ(cache.OwnPages({&parent, &child}), 4);
  EXPECT_EQ(cache.OwnPages({&child}), 4);
}

TEST(KvCacheDeathTest, CheckInvariantsMissesNoSequence) {
  KvCache cache(1, 4);
  KvSequence sequence(1);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&sequence, 1, &placement));
  EXPECT_DEATH(cache.CheckInvariants({}), "ref_count");
}

}  // namespace
}  // namespace prefixd
