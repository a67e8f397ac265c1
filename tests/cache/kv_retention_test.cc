// KvCache: compressed sequences and snapshots, one case at a time.
#include <numeric>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/kv_cache.h"
#include "tests/cache/prefix_fixture.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using testing::TestRoot;
using testing::Text;

class KvRetentionTest : public ::testing::Test {
 protected:
  explicit KvRetentionTest(int32_t num_pages = 64)
      : cache_(2, num_pages, {{.quota = 64}, {.quota = 64, .floor = 3}}) {}

  void Append(KvSequence* sequence, int32_t count) {
    ASSERT_TRUE(cache_.Append(sequence, count, &placement_));
  }
  // A sequence of `count` tokens of which both layers keep these.
  KvSequence Compressed(int32_t count, const std::vector<int32_t>& first,
                        const std::vector<int32_t>& second, int32_t tenant = 0) {
    KvSequence sequence(2, tenant);
    Append(&sequence, count);
    cache_.Compress(0, first, &sequence);
    cache_.Compress(1, second, &sequence);
    cache_.FinishCompress(&sequence);
    return sequence;
  }
  static SnapshotSpec SpecOf(const Text& text) {
    return {.root_key = TestRoot("a"), .tokens = text.view()};
  }
  void Store(const Text& text, KvSequence* sequence) {
    const SnapshotSpec spec = SpecOf(text);
    cache_.StoreSnapshot(SnapshotKey(spec), spec,
                         {.num_tokens = sequence->next_position(), .score_mass = 0.75}, sequence);
  }
  bool StartFrom(const Text& text, KvSequence* sequence) {
    const SnapshotSpec spec = SpecOf(text);
    return cache_.StartFromSnapshot(SnapshotKey(spec), spec, sequence);
  }
  static std::vector<int32_t> FirstOf(int32_t count) {
    std::vector<int32_t> positions(count);
    std::iota(positions.begin(), positions.end(), 0);
    return positions;
  }

  KvCache cache_;
  KvCache::Placement placement_;
};

TEST_F(KvRetentionTest, LayersHaveTheirOwnLengthAndGoOnAtTheNextPosition) {
  KvSequence sequence = Compressed(40, {0, 7, 39}, FirstOf(20));
  EXPECT_TRUE(sequence.compressed());
  EXPECT_EQ(sequence.num_pages(), 3);
  EXPECT_EQ(sequence.next_position(), 40);
  Append(&sequence, 2);
  EXPECT_THAT(placement_.write_slots, ElementsAre(ElementsAre(3, 4), ElementsAre(20, 21)));
  EXPECT_THAT(placement_.first_visible, ElementsAre(4, 21));
  EXPECT_THAT(sequence.layer(0).positions(), ElementsAre(0, 7, 39, 40, 41));
}

TEST_F(KvRetentionTest, ATakenOverSlotIsAmongThoseTheRowSees) {
  KvSequence sequence = Compressed(20, {0, 7, 9, 19}, {0, 19});
  cache_.BeginDrops({{.forget_ratio = 0.9, .first_droppable = 1}, {.first_droppable = 1}},
                    &sequence);
  Append(&sequence, 1);
  // Layer 0 holds 5 of 21 * 0.1; layer 1 forgets nothing.
  EXPECT_EQ(KvCache::DropsDue(sequence, 0), 2);
  EXPECT_EQ(KvCache::DropsDue(sequence, 1), 0);
  EXPECT_EQ(cache_.DropOldest(&sequence), 1) << "one a step, however many are due";
  Append(&sequence, 1);
  EXPECT_THAT(placement_.write_slots, ElementsAre(ElementsAre(1), ElementsAre(3)));
  EXPECT_THAT(placement_.first_visible, ElementsAre(5, 4));
  EXPECT_THAT(sequence.layer(0).positions(), ElementsAre(0, 21, 9, 19, 20));
}

TEST_F(KvRetentionTest, AGivenSlotGoesInEveryLayer) {
  KvSequence sequence = Compressed(20, {0, 7, 19}, {0, 8, 19});
  EXPECT_EQ(cache_.DropSlot(1, &sequence), 2);
  Append(&sequence, 1);
  EXPECT_THAT(sequence.layer(0).positions(), ElementsAre(0, 20, 19));
  EXPECT_THAT(sequence.layer(1).positions(), ElementsAre(0, 20, 19));
}

TEST_F(KvRetentionTest, ForksOfACompressedSequenceCountTheirCopiesByLayer) {
  KvSequence parent = Compressed(40, FirstOf(16), FirstOf(20));
  KvSequence child = cache_.Fork(parent);
  // Layer 0 is at a page's end; in layer 1 whoever writes last has the page for itself.
  EXPECT_EQ(cache_.PagesToAppend(parent, 1), 2);
  EXPECT_EQ(cache_.PagesToAppendOneEach({&parent, &child}), 3);
  const int32_t free = cache_.num_free_pages();
  Append(&parent, 1);
  Append(&child, 1);
  EXPECT_EQ(free - cache_.num_free_pages(), 3);
  EXPECT_EQ(cache_.OwnPages({&parent, &child}), 2 + 1 + 1 + 2);
  cache_.ClearCopies();
}

// --- Snapshots -----------------------------------------------------------------------------------

TEST_F(KvRetentionTest, SessionsStandOnOneSnapshot) {
  const Text text = Text().Count(0, 40);
  KvSequence first = Compressed(40, FirstOf(17), {0, 39});
  Store(text, &first);
  ASSERT_TRUE(first.snapshot());
  KvSequence second(2);
  ASSERT_TRUE(StartFrom(text, &second));
  EXPECT_EQ(second.next_position(), 40);
  EXPECT_EQ(second.snapshot()->score_mass, 0.75);
  EXPECT_EQ(cache_.num_free_pages(), 64 - 3);
  EXPECT_EQ(cache_.SharedPages(second), 3);
  EXPECT_EQ(cache_.OwnPages({&first}), 0);

  Append(&second, 1);
  EXPECT_EQ(cache_.copies().size(), 2u) << "the snapshot's pages are never written";
  cache_.ClearCopies();
  EXPECT_EQ(cache_.SharedPages(second), 1);
  EXPECT_EQ(cache_.OwnPages({&second}), 2);
  cache_.BeginRound({&first, &second});
  EXPECT_EQ(cache_.held_pages(0), 3 + 2);
  cache_.CheckInvariants({&first, &second});
}

TEST_F(KvRetentionTest, NothingStartsFromAnotherPrompt) {
  const Text text = Text().Count(0, 40);
  KvSequence first = Compressed(40, {0}, {0});
  Store(text, &first);
  KvSequence second(2);
  EXPECT_FALSE(StartFrom(Text().Count(1, 40), &second));
  EXPECT_FALSE(StartFrom(Text().Count(0, 41), &second));
  EXPECT_EQ(second.next_position(), 0);
  EXPECT_FALSE(second.compressed());
}

TEST_F(KvRetentionTest, WhoComputedTheSameGivesItsPagesBack) {
  const Text text = Text().Count(0, 40);
  KvSequence first = Compressed(40, FirstOf(17), {0, 39});
  Store(text, &first);
  KvSequence second = Compressed(40, FirstOf(17), {0, 39});
  Store(text, &second);
  EXPECT_EQ(cache_.num_free_pages(), 64 - 3);
  EXPECT_EQ(cache_.snapshots().size(), 1);
  EXPECT_EQ(second.layer(0).page_ids()[1], first.layer(0).page_ids()[1]);
}

TEST_F(KvRetentionTest, UnderAKeyThatIsTakenASequenceKeepsItsOwnPages) {
  const Text text = Text().Count(0, 40), other = Text().Count(9, 40);
  KvSequence first = Compressed(40, FirstOf(17), {0, 39});
  KvSequence second = Compressed(40, FirstOf(3), {0, 39});
  cache_.StoreSnapshot(ContentKey{}, SpecOf(text), {.num_tokens = first.next_position()}, &first);
  cache_.StoreSnapshot(ContentKey{}, SpecOf(other), {.num_tokens = second.next_position()},
                       &second);
  EXPECT_FALSE(second.snapshot());
  EXPECT_EQ(second.layer(0).length(), 3);
  EXPECT_EQ(cache_.OwnPages({&second}), 2);
  cache_.CheckInvariants({&first, &second});
}

// --- Who goes first ------------------------------------------------------------------------------

class SmallKvRetentionTest : public KvRetentionTest {
 protected:
  SmallKvRetentionTest() : KvRetentionTest(8) {}

  // Two columns of 32 tokens (cost 16 each), cached and not in use.
  void CacheColumns() {
    const Text text = Text().Count(500, 32);
    KvSequence sequence(2, 1);
    cache_.Open(TestRoot("b"), &sequence);
    Append(&sequence, 32);
    cache_.Publish(text.view(), {}, &sequence);
  }
  // A snapshot of 32 tokens in `pages` pages a layer: cost 32 for 2 * pages, 2 a column.
  void CacheSnapshot(int32_t pages) {
    KvSequence sequence = Compressed(32, FirstOf(16 * pages), FirstOf(16 * pages), 1);
    Store(Text().Count(0, 32), &sequence);
  }
};

TEST_F(SmallKvRetentionTest, ACompressedSnapshotIsWorthMorePerPageThanColumns) {
  CacheSnapshot(1);
  CacheColumns();
  cache_.BeginRound({});
  // One column must go; the snapshot was used before it, but costs twice as much a page.
  ASSERT_EQ(cache_.num_free_pages(), 2);
  ASSERT_EQ(cache_.Reserve(1, 3), KvCache::Room::kGranted);
  EXPECT_EQ(cache_.snapshots().size(), 1);
  EXPECT_EQ(cache_.index().num_columns(), 1);
}

TEST_F(SmallKvRetentionTest, ASnapshotThatSavesNothingGoesBeforeColumns) {
  CacheSnapshot(2);
  CacheColumns();
  cache_.BeginRound({});
  ASSERT_EQ(cache_.num_free_pages(), 0);
  ASSERT_EQ(cache_.Reserve(1, 1), KvCache::Room::kGranted);
  EXPECT_EQ(cache_.snapshots().size(), 0);
  EXPECT_EQ(cache_.index().num_columns(), 2);
}

TEST_F(SmallKvRetentionTest, OthersEvictWholeColumnsDownToTheFloorAndAnySnapshot) {
  CacheSnapshot(1);  // 2 pages.
  CacheColumns();    // 4 pages; the tenant's floor is 3.
  cache_.BeginRound({});
  EXPECT_EQ(cache_.available_pages(0),
            2 + 2);  // The snapshot's; a column would be below the floor.
  EXPECT_EQ(cache_.available_pages(1), 8);
  EXPECT_EQ(cache_.Reserve(0, 5), KvCache::Room::kPoolFull);
  EXPECT_EQ(cache_.Reserve(0, 4), KvCache::Room::kGranted);
  EXPECT_EQ(cache_.snapshots().size(), 0);
  EXPECT_EQ(cache_.index().num_columns(), 2);
}

TEST_F(SmallKvRetentionTest, ASnapshotInUseIsNotRoomForAnybody) {
  CacheSnapshot(1);
  KvSequence session(2, 1);
  ASSERT_TRUE(StartFrom(Text().Count(0, 32), &session));
  cache_.BeginRound({&session});
  EXPECT_EQ(cache_.held_pages(1), 2);
  EXPECT_EQ(cache_.available_pages(1), 6);
  cache_.EvictAll(-1);
  EXPECT_EQ(cache_.snapshots().size(), 1);
  session = KvSequence(2, 1);
  cache_.EvictAll(-1);
  EXPECT_EQ(cache_.num_free_pages(), 8);
}

// --- What callers must not do --------------------------------------------------------------------

using KvRetentionDeathTest = KvRetentionTest;

TEST_F(KvRetentionDeathTest, CompressesOnceAndOnlyWhatIsThere) {
  KvSequence sequence(2);
  Append(&sequence, 20);
  EXPECT_DEATH(cache_.Compress(0, {}, &sequence), "empty");
  EXPECT_DEATH(cache_.Compress(0, {0, 20}, &sequence), "length");
  KvSequence compressed = Compressed(20, {0, 19}, {0, 19});
  EXPECT_DEATH(cache_.Compress(0, {0}, &compressed), "compressed_");
}

TEST_F(KvRetentionDeathTest, AForkOfWhatIsStoredWouldHoldEvictablePages) {
  const Text text = Text().Count(0, 20);
  KvSequence sequence = Compressed(20, {0, 19}, {0, 19});
  const KvSequence fork = cache_.Fork(sequence);
  EXPECT_DEATH(Store(text, &sequence), "ref_count");
}

TEST_F(KvRetentionDeathTest, BudgetsAreSetOnceForEveryLayerOfACompressedSequence) {
  KvSequence whole(2);
  Append(&whole, 20);
  EXPECT_DEATH(cache_.BeginDrops({{}, {}}, &whole), "compressed_");
  KvSequence sequence = Compressed(20, {0, 19}, {0, 19});
  EXPECT_DEATH(cache_.BeginDrops({{}}, &sequence), "size");
  cache_.BeginDrops({{}, {}}, &sequence);
  EXPECT_DEATH(cache_.BeginDrops({{}, {}}, &sequence), "budgets_");
}

}  // namespace
}  // namespace prefixd
