#include "cache/prefix_index.h"

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/cache/prefix_fixture.h"

namespace prefixd {
namespace {

using testing::MediaId;
using testing::TestRoot;
using testing::Text;

constexpr int kLayers = 2;
constexpr int32_t kPages = 4096;

std::unique_ptr<PrefixIndex> MakeIndex(const PrefixIndex::Options& options) {
  return std::make_unique<PrefixIndex>(options);
}

class PrefixIndexTest : public ::testing::Test {
 protected:
  ~PrefixIndexTest() override { index_->CheckInvariants(); }

  PrefixIndex::Pin Publish(const Text& text, uint32_t cost = 1) {
    return testing::PublishAll(index_.get(), &pool_, kLayers, root_, 0, text, cost);
  }
  PrefixIndex::Match Find(const Text& text, int32_t max_tokens) {
    return index_->Find(index_->Root(root_, 0), text.view(), ColumnKeys(root_, text.view()),
                        max_tokens);
  }
  PrefixIndex::Match Find(const Text& text) { return Find(text, text.size()); }
  int32_t Peek(const Text& text) {
    return index_->Peek(root_, text.view(), ColumnKeys(root_, text.view()), text.size());
  }

  const ContentKey root_ = TestRoot("a");
  PagePool pool_{kPages};
  std::unique_ptr<PrefixIndex> index_ = MakeIndex({.num_layers = kLayers});
};

TEST_F(PrefixIndexTest, KnowsNothingAtFirst) {
  const Text text = Text().Count(0, 40);
  EXPECT_EQ(Peek(text), 0);
  const PrefixIndex::Match match = Find(text);
  EXPECT_EQ(match.num_tokens(), 0);
  EXPECT_TRUE(match.pin);
  EXPECT_FALSE(match.partial);
  EXPECT_EQ(match.reason, MissReason::kNotCached);
}

TEST_F(PrefixIndexTest, MatchesWholeColumnsThenTokensOfTheNext) {
  const Text text = Text().Count(0, 32);
  Publish(text);
  const PrefixIndex::Match match = Find(text, 31);
  EXPECT_EQ(match.num_columns, 1);
  EXPECT_EQ(match.partial_tokens, 15);
  EXPECT_EQ(match.num_tokens(), 31);
  EXPECT_EQ(match.reason, MissReason::kNone);
  EXPECT_EQ(index_->depth(match.pin.node()), 1);
  EXPECT_EQ(index_->depth(match.partial.node()), 2);
  EXPECT_EQ(index_->parent(match.partial.node()), match.pin.node());
  EXPECT_EQ(Find(text).num_columns, 2);
  EXPECT_FALSE(Find(text).partial);
}

TEST_F(PrefixIndexTest, MatchesNoMoreThanAllowed) {
  const Text text = Text().Count(0, 48);
  Publish(text);
  for (int32_t max_tokens = 0; max_tokens <= 48; ++max_tokens) {
    const PrefixIndex::Match match = Find(text, max_tokens);
    EXPECT_EQ(match.num_tokens(), max_tokens);
    EXPECT_EQ(match.num_columns, max_tokens / kSlotsPerPage);
    EXPECT_EQ(match.reason, MissReason::kNone);
  }
  EXPECT_EQ(Find(text, 1000).num_tokens(), 48) << "limited by the sequence";
}

TEST_F(PrefixIndexTest, GivesThePagesThatWerePublished) {
  const Text text = Text().Count(0, 16);
  std::vector<PageRef> pages;
  for (int layer = 0; layer < kLayers; ++layer) pages.push_back(*pool_.Allocate());
  const PageId first = pages[0].id(), second = pages[1].id();
  index_->Publish(index_->Root(root_, 0), ColumnKey(root_, text.view(), 0), text.view(),
                  std::move(pages), 1);
  const PrefixIndex::Match match = Find(text);
  ASSERT_EQ(index_->pages(match.pin.node()).size(), 2u);
  EXPECT_EQ(index_->pages(match.pin.node())[0].id(), first);
  EXPECT_EQ(index_->pages(match.pin.node())[1].id(), second);
  EXPECT_TRUE(index_->pages(index_->parent(match.pin.node())).empty());
}

TEST_F(PrefixIndexTest, StopsMatchingAtADifferentImage) {
  Publish(Text().Count(0, 4).Image(1, 20).Count(4, 8));
  const Text other = Text().Count(0, 4).Image(2, 20).Count(4, 8);
  EXPECT_EQ(Find(other).num_tokens(), 4) << "equal placeholders under another image";
  EXPECT_EQ(Find(other).reason, MissReason::kDiverged);
}

TEST_F(PrefixIndexTest, MatchesTheRowsThatImagesShare) {
  Publish(Text().Count(0, 4).Image(1, 28));
  EXPECT_EQ(Find(Text().Count(0, 4).Image(1, 28)).num_tokens(), 32);
  EXPECT_EQ(Find(Text().Count(0, 4).Image(1, 20).Count(4, 8)).num_tokens(), 24);
  EXPECT_EQ(Find(Text().Count(0, 3).Image(1, 29)).num_tokens(), 3) << "one row off";
  EXPECT_EQ(Find(Text().Count(0, 4).Image(1, 4).Image(1, 24)).num_tokens(), 8)
      << "the image starts again";
}

TEST_F(PrefixIndexTest, PicksTheLongestAmongManyChildren) {
  std::vector<PrefixIndex::Pin> pins;
  for (int32_t i = 0; i < 500; ++i) {  // All begin with the same token.
    pins.push_back(Publish(Text().Count(1, 1).Count(i / 25, 2).Count(i % 25 * 3, 13)));
  }
  pins.push_back(Publish(Text().Count(1, 1).Count(7, 2).Image(3, 5).Count(0, 8)));
  EXPECT_EQ(Find(Text().Count(1, 1).Count(7, 2).Count(21, 10).Count(99, 3)).num_tokens(), 13);
  EXPECT_EQ(Find(Text().Count(1, 1).Count(7, 2).Count(22, 13)).num_tokens(), 3);
  EXPECT_EQ(Find(Text().Count(1, 1).Count(7, 2).Image(3, 2).Count(22, 11)).num_tokens(), 5);
  EXPECT_EQ(Find(Text().Count(1, 1).Count(7, 2).Image(4, 5).Count(0, 8)).num_tokens(), 3);
  EXPECT_EQ(Find(Text().Count(1, 15)).num_tokens(), 3);
  EXPECT_EQ(Find(Text().Count(2, 15)).num_tokens(), 0);
  EXPECT_EQ(Find(Text().Count(2, 15)).reason, MissReason::kDiverged);
}

TEST_F(PrefixIndexTest, GoesOnFromANode) {
  const Text text = Text().Count(0, 64);
  Publish(text);
  const std::vector<ContentKey> keys = ColumnKeys(root_, text.view());
  const PrefixIndex::Match half = Find(text, 32);
  const PrefixIndex::Match rest = index_->Find(half.pin, text.view(), keys, 63);
  EXPECT_EQ(rest.num_columns, 3);
  EXPECT_EQ(rest.partial_tokens, 15);
  const PrefixIndex::Match none = index_->Find(half.pin, text.view(), keys, 32);
  EXPECT_EQ(none.pin.node(), half.pin.node());
  EXPECT_EQ(none.num_tokens(), 32);
}

TEST_F(PrefixIndexTest, KeepsNamespacesApart) {
  const Text text = Text().Count(0, 32);
  Publish(text);
  for (const ContentKey& root : {TestRoot("b"), TestRoot("a", "salt")}) {
    const std::vector<ContentKey> keys = ColumnKeys(root, text.view());
    EXPECT_EQ(index_->Find(index_->Root(root, 1), text.view(), keys, 32).num_tokens(), 0);
    EXPECT_EQ(index_->Peek(root, text.view(), keys, 32), 0);
    // Even with the keys of the other namespace, the parent differs.
    const std::vector<ContentKey> stolen = ColumnKeys(root_, text.view());
    EXPECT_EQ(index_->Find(index_->Root(root, 1), text.view(), stolen, 32).num_tokens(), 0);
  }
  EXPECT_EQ(index_->counters().collisions, 2u) << "the two lookups with foreign keys";
}

TEST_F(PrefixIndexTest, AccountsPagesToTheTenantOfTheRoot) {
  PrefixIndex::Pin a = Publish(Text().Count(0, 32));
  PrefixIndex::Pin b =
      testing::PublishAll(index_.get(), &pool_, kLayers, TestRoot("b"), 3, Text().Count(0, 48));
  EXPECT_EQ(index_->tenant(b.node()), 3);
  EXPECT_EQ(index_->num_columns(), 5);
  EXPECT_EQ(index_->num_pages(), 10);
  EXPECT_EQ(index_->num_pages(0), 4);
  EXPECT_EQ(index_->num_pages(3), 6);
  EXPECT_EQ(index_->num_pages(1), 0);
  EXPECT_EQ(index_->num_pages(99), 0);
  EXPECT_EQ(index_->evictable_pages(), 0);
  b = PrefixIndex::Pin();
  EXPECT_EQ(index_->evictable_pages(), 6);
  EXPECT_EQ(index_->evictable_pages(3), 6);
  EXPECT_EQ(index_->Evict(1, 0), 0) << "all of this tenant's are pinned";
  EXPECT_EQ(index_->Evict(3, 3), 4) << "whole columns";
  EXPECT_EQ(index_->num_pages(3), 2);
  EXPECT_EQ(index_->num_pages(0), 4);
}

TEST_F(PrefixIndexTest, DropsThePagesOfADuplicate) {
  const Text text = Text().Count(0, 16);
  const PrefixIndex::Pin first = Publish(text);
  const PrefixIndex::Pin second = Publish(text);
  EXPECT_EQ(first.node(), second.node());
  EXPECT_EQ(pool_.num_free(), kPages - kLayers);
  EXPECT_EQ(index_->counters().published, 1u);
  EXPECT_EQ(index_->counters().duplicates, 1u);
}

TEST_F(PrefixIndexTest, APinProtectsANodeAndItsAncestors) {
  const Text text = Text().Count(0, 64);
  PrefixIndex::Pin leaf = Publish(text);
  EXPECT_EQ(index_->evictable_pages(), 0);
  EXPECT_EQ(index_->Evict(100, -1), 0);
  PrefixIndex::Pin middle = Find(text, 32).pin.Clone();
  leaf = PrefixIndex::Pin();
  EXPECT_EQ(index_->evictable_pages(), 2 * kLayers);
  EXPECT_EQ(index_->Evict(100, -1), 2 * kLayers);
  EXPECT_EQ(Peek(text), 32);
  PrefixIndex::Pin copy = middle.Clone();
  middle = PrefixIndex::Pin();
  EXPECT_EQ(index_->Evict(100, -1), 0) << "the copy protects as well";
  copy = PrefixIndex::Pin();
  EXPECT_EQ(index_->Evict(100, -1), 2 * kLayers);
  EXPECT_EQ(pool_.num_free(), kPages);
}

TEST_F(PrefixIndexTest, PagesThatOthersClaimSurviveEviction) {
  PrefixIndex::Pin pin = Publish(Text().Count(0, 16));
  std::optional<PageRef> claim = index_->pages(pin.node())[0].Share();
  pin = PrefixIndex::Pin();
  EXPECT_EQ(index_->Evict(2, -1), 2);
  EXPECT_EQ(pool_.num_free(), kPages - 1);
  claim.reset();
  EXPECT_EQ(pool_.num_free(), kPages);
}

TEST_F(PrefixIndexTest, EvictsTheLeastRecentlyUsedFirst) {
  const Text a = Text().Count(0, 16), b = Text().Count(100, 16), c = Text().Count(200, 16);
  Publish(a), Publish(b), Publish(c);
  Find(a);
  EXPECT_EQ(Peek(b), 16) << "no use";
  index_->Evict(1, -1);
  EXPECT_EQ(Peek(b), 0);
  index_->Evict(1, -1);
  EXPECT_EQ(Peek(c), 0);
  EXPECT_EQ(Peek(a), 16);
}

TEST_F(PrefixIndexTest, APartialMatchIsAUse) {
  const Text a = Text().Count(0, 16), b = Text().Count(100, 16);
  Publish(a), Publish(b);
  Find(a, 3);
  index_->Evict(1, -1);
  EXPECT_EQ(Peek(a), 16);
  EXPECT_EQ(Peek(b), 0);
}

TEST_F(PrefixIndexTest, EvictsTheCheapFirstUntilTheCostlyHaveAged) {
  const Text costly = Text().Count(0, 16);
  Publish(costly, 3);
  // Each eviction moves the clock up by the cost of the cheap ones.
  for (int32_t i = 1; i <= 2; ++i) {
    Publish(Text().Count(100 * i, 16), 1);
    index_->Evict(1, -1);
    EXPECT_EQ(Peek(costly), 16) << i;
  }
  Publish(Text().Count(300, 16), 1);  // Priority 2 + 1, as the costly one's, but used later.
  index_->Evict(1, -1);
  EXPECT_EQ(Peek(costly), 0);
  EXPECT_EQ(Peek(Text().Count(300, 16)), 16);
}

TEST_F(PrefixIndexTest, TheUseOfAColumnIsOneOfItsAncestors) {
  const Text chain = Text().Count(0, 32), other = Text().Count(100, 16);
  Publish(chain), Publish(other);
  Find(chain);
  index_->Evict(kLayers, -1);
  EXPECT_EQ(Peek(other), 0) << "the least recently used";
  Publish(other);
  index_->Evict(kLayers, -1);
  EXPECT_EQ(Peek(chain), 16) << "its last column went";
  index_->Evict(kLayers, -1);
  EXPECT_EQ(Peek(chain), 0) << "then the one before, last used with it and before the other";
  EXPECT_EQ(Peek(other), 16);
}

TEST_F(PrefixIndexTest, SaysWhyItDidNotMatchMore) {
  const Text text = Text().Count(0, 48);
  Publish(text);
  EXPECT_EQ(Find(Text().Count(0, 48).Count(7, 16)).reason, MissReason::kNotCached);
  EXPECT_EQ(Find(Text().Count(0, 20).Count(7, 16)).reason, MissReason::kDiverged);
  index_->Evict(kLayers, -1);
  EXPECT_EQ(Find(text).reason, MissReason::kEvicted);
  EXPECT_EQ(Find(text, 32).reason, MissReason::kNone);
  EXPECT_EQ(Find(text, 40).reason, MissReason::kEvicted);
  Publish(text);
  index_->Evict(3 * kLayers, -1);
  EXPECT_EQ(Find(text).reason, MissReason::kEvicted) << "none is left";
}

TEST_F(PrefixIndexTest, RemembersABoundedNumberOfEvictedColumns) {
  index_ = MakeIndex({.num_layers = kLayers, .max_ghosts = 2});
  const Text a = Text().Count(0, 16), b = Text().Count(100, 16), c = Text().Count(200, 16);
  Publish(a), Publish(b), Publish(c);
  index_->Evict(100, -1);
  EXPECT_EQ(Find(a).reason, MissReason::kNotCached) << "forgotten";
  EXPECT_EQ(Find(b).reason, MissReason::kEvicted);
  EXPECT_EQ(Find(c).reason, MissReason::kEvicted);
  Publish(b);
  index_->Evict(100, -1);  // b twice: c's place was the older one.
  EXPECT_EQ(Find(b).reason, MissReason::kEvicted);
  index_ = MakeIndex({.num_layers = kLayers, .max_ghosts = 0});
  Publish(a);
  index_->Evict(100, -1);
  EXPECT_EQ(Find(a).reason, MissReason::kNotCached);
}

TEST_F(PrefixIndexTest, TellsCollidingColumnsApart) {
  index_ = MakeIndex({.num_layers = kLayers, .key_bits = 1});
  std::vector<PrefixIndex::Pin> pins;
  for (int32_t i = 0; i < 50; ++i) pins.push_back(Publish(Text().Count(i, 32)));
  for (int32_t i = 0; i < 50; ++i) {
    const PrefixIndex::Match match = Find(Text().Count(i, 32));
    EXPECT_EQ(match.num_columns, 2);
    EXPECT_EQ(match.pin.node(), pins[i].node());
  }
  EXPECT_GT(index_->counters().collisions, 1000u);
  index_->CheckInvariants();
}

TEST_F(PrefixIndexTest, DropsARootThatIsNotUsed) {
  const ContentKey root = TestRoot("b");
  index_->Root(root, 1);
  index_->Root(root, 2);  // Another one: the first would not change its tenant.
  testing::PublishAll(index_.get(), &pool_, kLayers, root, 3, Text().Count(0, 16));
  EXPECT_EQ(index_->tenant(index_->Root(root, 3).node()), 3);
  index_->Evict(kLayers, 3);
  EXPECT_EQ(index_->tenant(index_->Root(root, 4).node()), 4) << "went with its last column";
}

TEST_F(PrefixIndexTest, VisitsThePagesOfAllColumns) {
  PrefixIndex::Pin pinned = Publish(Text().Count(0, 32));
  Publish(Text().Count(0, 32).Count(7, 32));
  std::set<PageId> all;
  int num_pinned = 0;
  index_->ForEachPage([&](PageId page, bool pinned) {
    EXPECT_TRUE(all.insert(page).second);
    num_pinned += pinned;
  });
  EXPECT_EQ(all.size(), 8u);
  EXPECT_EQ(num_pinned, 4);
}

TEST(PrefixIndex, TakesVeryDeepChains) {
  constexpr int32_t kColumns = 100000;
  PagePool pool(kColumns);
  PrefixIndex index({.num_layers = 1});
  const ContentKey root = TestRoot("a");
  const Text text = Text().Count(0, kColumns * kSlotsPerPage);
  PrefixIndex::Pin pin = testing::PublishAll(&index, &pool, 1, root, 0, text);
  pin = PrefixIndex::Pin();
  EXPECT_EQ(index.evictable_pages(), kColumns);
  const std::vector<ContentKey> keys = ColumnKeys(root, text.view());
  EXPECT_EQ(index.Find(index.Root(root, 0), text.view(), keys, text.size()).num_tokens(),
            text.size());
  EXPECT_EQ(index.evictable_pages(), kColumns);
  index.CheckInvariants();
  EXPECT_EQ(index.Evict(kColumns / 2, -1), kColumns / 2);
  EXPECT_EQ(index.Peek(root, text.view(), keys, text.size()), text.size() / 2);
}

TEST(PrefixIndexDeathTest, DiesWithPinsStillOut) {
  EXPECT_DEATH(
      {
        auto index = MakeIndex({.num_layers = 1});
        PrefixIndex::Pin pin = index->Root(TestRoot("a"), 0);
        index.reset();
      },
      "num_pins_ == 0");
}

}  // namespace
}  // namespace prefixd
