// Scores stored with columns: PrefixIndex::AttachScores and CutToScores, KvCache::Extend kScored.
#include <memory>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "cache/kv_cache.h"
#include "tests/cache/prefix_fixture.h"

namespace prefixd {
namespace {

using testing::PublishAll;
using testing::TestRoot;
using testing::Text;

constexpr int kLayers = 2;

// Sums for `columns` columns, all of one value.
ScoreSums Sums(int32_t columns, float value) {
  return std::make_shared<const std::vector<float>>(kLayers * columns * kSlotsPerPage, value);
}

class ScoredColumnsTest : public ::testing::Test {
 protected:
  ~ScoredColumnsTest() override { index_.CheckInvariants(); }

  PrefixIndex::Pin Publish(const Text& text) {
    return PublishAll(&index_, &pool_, kLayers, root_, 0, text);
  }
  PrefixIndex::Match Find(const Text& text) {
    return index_.Find(index_.Root(root_, 0), text.view(), ColumnKeys(root_, text.view()),
                       text.size());
  }

  const ContentKey root_ = TestRoot("a");
  PagePool pool_{256};
  PrefixIndex index_{{.num_layers = kLayers}};
};

TEST_F(ScoredColumnsTest, KeepsTheFirstScoresOfAColumn) {
  const PrefixIndex::Pin pin = Publish(Text().Count(0, 48));
  EXPECT_EQ(index_.scores(pin.node()), nullptr);
  index_.AttachScores(pin, Sums(3, 1.0f));
  index_.AttachScores(pin, Sums(3, 2.0f));
  ASSERT_NE(index_.scores(pin.node()), nullptr);
  EXPECT_EQ(index_.scores(pin.node())->front(), 1.0f);
  EXPECT_EQ(index_.score_bytes(), 3u * 16 * kLayers * 4) << "those that were refused do not count";
  EXPECT_EQ(index_.scores(index_.parent(pin.node())), nullptr);
}

TEST_F(ScoredColumnsTest, ScoresGoWithTheirColumn) {
  {
    const PrefixIndex::Pin longer = Publish(Text().Count(0, 48));
    index_.AttachScores(longer, Sums(3, 1.0f));
    const PrefixIndex::Pin shorter = Publish(Text().Count(0, 32));
    index_.AttachScores(shorter, Sums(2, 1.0f));
  }
  EXPECT_EQ(index_.score_bytes(), 5u * 16 * kLayers * 4);
  index_.Evict(1, -1);
  EXPECT_EQ(index_.score_bytes(), 2u * 16 * kLayers * 4) << "the leaf went";
  index_.Evict(1000, -1);
  EXPECT_EQ(index_.score_bytes(), 0u);
}

TEST_F(ScoredColumnsTest, CutsToTheLastColumnWithScores) {
  const Text text = Text().Count(0, 80);
  const PrefixIndex::Pin pin = Publish(text);
  const PrefixIndex::Pin second = Publish(Text().Count(0, 32));
  const PrefixIndex::Pin fourth = Publish(Text().Count(0, 64));
  index_.AttachScores(second, Sums(2, 1.0f));

  PrefixIndex::Match match = Find(text);
  ASSERT_EQ(match.num_columns, 5);
  index_.CutToScores(0, &match);
  EXPECT_EQ(match.num_columns, 2);
  EXPECT_EQ(match.pin.node(), second.node());
  EXPECT_EQ(match.num_tokens(), 32);

  index_.AttachScores(fourth, Sums(4, 1.0f));
  match = Find(text);
  index_.CutToScores(0, &match);
  EXPECT_EQ(match.num_columns, 4);
}

TEST_F(ScoredColumnsTest, CutsToTheRootWhereNoScoresAre) {
  const Text text = Text().Count(0, 40);
  Publish(Text().Count(0, 48));
  PrefixIndex::Match match = Find(text);
  ASSERT_EQ(match.num_columns, 2);
  ASSERT_EQ(match.partial_tokens, 8);
  index_.CutToScores(0, &match);
  EXPECT_EQ(match.num_columns, 0);
  EXPECT_EQ(match.num_tokens(), 0);
  EXPECT_TRUE(match.pin) << "the root";
  EXPECT_FALSE(match.partial);
}

TEST_F(ScoredColumnsTest, NeverCutsWhatTheCallerHasAlready) {
  const Text text = Text().Count(0, 64);
  Publish(text);
  PrefixIndex::Match match = Find(text);
  index_.CutToScores(3, &match);
  EXPECT_EQ(match.num_columns, 3);
}

TEST_F(ScoredColumnsTest, ACutMatchLeavesNoPinBehind) {
  const Text text = Text().Count(0, 64);
  index_.AttachScores(Publish(Text().Count(0, 16)), Sums(1, 1.0f));
  Publish(text);
  PrefixIndex::Match match = Find(text);
  index_.CutToScores(0, &match);
  EXPECT_EQ(index_.evictable_pages(), 3 * kLayers);
  match = {};
  EXPECT_EQ(index_.evictable_pages(), 4 * kLayers);
}

TEST_F(ScoredColumnsTest, SaysThatACutMatchIsNotAll) {
  const Text whole = Text().Count(0, 32), in_part = Text().Count(0, 24);
  const PrefixIndex::Pin pin = Publish(whole);
  PrefixIndex::Match match = Find(whole);
  ASSERT_EQ(match.reason, MissReason::kNone);
  index_.CutToScores(0, &match);
  EXPECT_EQ(match.reason, MissReason::kNoScores) << "columns went";

  index_.AttachScores(pin, Sums(2, 1.0f));
  match = Find(whole);
  index_.CutToScores(0, &match);
  EXPECT_EQ(match.reason, MissReason::kNone) << "nothing went";

  index_.AttachScores(Publish(Text().Count(0, 16)), Sums(1, 1.0f));
  match = Find(in_part);
  ASSERT_EQ(match.num_tokens(), 24);
  ASSERT_EQ(match.reason, MissReason::kNone);
  index_.CutToScores(0, &match);
  EXPECT_EQ(match.num_tokens(), 16);
  EXPECT_EQ(match.reason, MissReason::kNoScores) << "only the partial column went";
}

// --- KvCache -------------------------------------------------------------------------------------

class ScoredHitsTest : public ::testing::Test {
 protected:
  // A sequence that computed `text` and published it.
  KvSequence Computed(const Text& text) {
    KvSequence sequence(kLayers);
    cache_.Open(root_, &sequence);
    KvCache::Placement placement;
    EXPECT_TRUE(cache_.Append(&sequence, text.size(), &placement));
    cache_.Publish(text.view(), {}, &sequence);
    return sequence;
  }
  // The columns that a new sequence adopts of `text`.
  int32_t Columns(const Text& text, KvCache::Columns columns, int32_t had = 0) {
    KvSequence sequence(kLayers);
    cache_.Open(root_, &sequence);
    const std::vector<ContentKey> keys = ColumnKeys(root_, text.view());
    if (had > 0) {
      cache_.Extend(text.view(), keys, had * kSlotsPerPage, KvCache::Columns::kAny, &sequence);
    }
    const PrefixIndex::Match match =
        cache_.Extend(text.view(), keys, text.size() - 1, columns, &sequence);
    EXPECT_EQ(match.num_columns, sequence.num_shared_columns());
    EXPECT_EQ(sequence.next_position(), match.num_columns * kSlotsPerPage);
    cache_.CheckInvariants({&sequence});
    return sequence.num_shared_columns();
  }

  const ContentKey root_ = TestRoot("a");
  KvCache cache_{kLayers, 64};
};

TEST_F(ScoredHitsTest, AHitEndsWhereScoresAreKnown) {
  const Text text = Text().Count(0, 70);
  {
    const KvSequence to_checkpoint = Computed(Text().Count(0, 35));
    cache_.AttachScores(to_checkpoint, Sums(2, 0.5f));
    Computed(text);
  }
  EXPECT_EQ(Columns(text, KvCache::Columns::kAny), 4);
  EXPECT_EQ(Columns(text, KvCache::Columns::kScored), 2);
  EXPECT_EQ(Columns(text, KvCache::Columns::kScored, 1), 2);
  EXPECT_EQ(Columns(text, KvCache::Columns::kScored, 3), 3) << "what it has stays";
  const Text other = Text().Count(0, 16).Count(500, 40);
  EXPECT_EQ(Columns(other, KvCache::Columns::kScored), 0) << "one column fits, without scores";
}

TEST_F(ScoredHitsTest, WhoComesSecondAttachesToTheColumnsThatAreThere) {
  const Text text = Text().Count(0, 40);
  Computed(text);
  ASSERT_EQ(Columns(text, KvCache::Columns::kScored), 0);
  cache_.AttachScores(Computed(text), Sums(2, 0.5f));
  EXPECT_EQ(cache_.index().counters().published, 2u);
  EXPECT_EQ(Columns(text, KvCache::Columns::kScored), 2);
}

TEST_F(ScoredHitsTest, TheSumsAreThoseThatWereStored) {
  const Text text = Text().Count(0, 20);
  const ScoreSums sums = Sums(1, 0.25f);
  cache_.AttachScores(Computed(text), sums);
  KvSequence sequence(kLayers);
  cache_.Open(root_, &sequence);
  cache_.Extend(text.view(), ColumnKeys(root_, text.view()), 19, KvCache::Columns::kScored,
                &sequence);
  EXPECT_EQ(cache_.index().scores(sequence.pin().node()), sums);
}

}  // namespace
}  // namespace prefixd
