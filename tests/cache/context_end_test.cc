// Ends of contexts and yields of columns: an equal context is adopted whole, another never, and all
// pages are accounted for.
#include <numeric>

#include <gtest/gtest.h>

#include "cache/kv_cache.h"

namespace prefixd {
namespace {

constexpr int kLayers = 3;
constexpr int32_t kPages = 60;

class ContextEndTest : public ::testing::Test {
 protected:
  static std::vector<int32_t> Tokens(int32_t count, int32_t first = 0) {
    std::vector<int32_t> ids(static_cast<size_t>(count));
    std::iota(ids.begin(), ids.end(), first);
    return ids;
  }
  static SnapshotSpec SpecOf(const std::vector<int32_t>& ids) {
    return {
        .root_key = ContentKey{1}, .recipe = ContentKey{2}, .tokens = {.ids = ids, .media = {}}};
  }

  // Computes a context and keeps its end.
  KvSequence Compute(const std::vector<int32_t>& ids, std::vector<float> state, bool columns) {
    KvSequence kv(kLayers);
    if (columns) cache_.Open(ContentKey{1}, &kv);
    KvCache::Placement placement;
    EXPECT_TRUE(cache_.Append(&kv, static_cast<int32_t>(ids.size()), &placement));
    if (columns) cache_.Publish({.ids = ids, .media = {}}, {}, &kv);
    const SnapshotSpec spec = SpecOf(ids);
    cache_.StoreContextEnd(SnapshotKey(spec), spec, std::move(state), &kv);
    Check({&kv});
    return kv;
  }

  const std::vector<float>* Start(const std::vector<int32_t>& ids, bool columns, KvSequence* kv) {
    const SnapshotSpec spec = SpecOf(ids);
    const std::vector<ContentKey> keys = ColumnKeys(ContentKey{1}, spec.tokens);
    return cache_.StartFromContextEnd(SnapshotKey(spec), spec, columns, keys, kv);
  }

  void Check(std::vector<const KvSequence*> sequences) { cache_.CheckInvariants(sequences); }

  KvCache cache_{kLayers, kPages};
};

TEST_F(ContextEndTest, AnEqualContextHoldsAllItsTokens) {
  for (const bool columns : {true, false}) {
    for (const int32_t length : {1, 15, 16, 17, 32, 40}) {
      if (!columns && length % kSlotsPerPage == 0) continue;
      SCOPED_TRACE(testing::Message() << columns << " " << length);
      const std::vector<int32_t> ids = Tokens(length, columns ? 0 : 1000);
      { const KvSequence kv = Compute(ids, {static_cast<float>(length), 2}, columns); }
      KvSequence again(kLayers);
      const std::vector<float>* state = Start(ids, columns, &again);
      ASSERT_NE(state, nullptr);
      EXPECT_EQ(*state, (std::vector<float>{static_cast<float>(length), 2}));
      EXPECT_EQ(again.next_position(), length);
      EXPECT_EQ(again.num_shared_columns(), columns ? length / kSlotsPerPage : 0);
      for (int layer = 0; layer < kLayers; ++layer) EXPECT_EQ(again.layer(layer).length(), length);
      Check({&again});
      cache_.BeginRound(std::vector<const KvSequence*>{&again});
      EXPECT_EQ(cache_.OwnPages(std::vector<const KvSequence*>{&again}),
                0);  // All of it is shared.
      // The next token takes a page of its own; what is kept stays.
      const int64_t pages = cache_.PagesToAppend(again, 1);
      EXPECT_EQ(pages, kLayers);
      KvCache::Placement placement;
      ASSERT_TRUE(cache_.Append(&again, 1, &placement));
      EXPECT_EQ(cache_.copies().size(), length % kSlotsPerPage == 0 ? 0u : size_t{kLayers});
      cache_.ClearCopies();
      Check({&again});
    }
  }
  cache_.EvictAll(-1);
  EXPECT_EQ(cache_.num_free_pages(), kPages);
}

TEST_F(ContextEndTest, AnotherContextIsNoHit) {
  { const KvSequence kv = Compute(Tokens(20), {1}, true); }
  for (const auto& ids : {Tokens(19), Tokens(21), Tokens(20, 1)}) {
    KvSequence kv(kLayers);
    EXPECT_EQ(Start(ids, true, &kv), nullptr);
    EXPECT_EQ(kv.next_position(), 0);
  }
  // The same tail behind another column.
  std::vector<int32_t> other = Tokens(20);
  other[3] = 99;
  KvSequence kv(kLayers);
  EXPECT_EQ(Start(other, true, &kv), nullptr);
  Check({&kv});
}

TEST_F(ContextEndTest, WithoutItsColumnsAnEndIsOfNoUse) {
  const std::vector<int32_t> ids = Tokens(40);
  { const KvSequence kv = Compute(ids, {1}, true); }
  cache_.index().Evict(kLayers, -1);  // The second column goes.
  KvSequence kv(kLayers);
  EXPECT_EQ(Start(ids, true, &kv), nullptr);
  EXPECT_EQ(kv.next_position(), 0);
  // Computed again, it is whole again.
  { const KvSequence again = Compute(ids, {5}, true); }
  EXPECT_EQ(*Start(ids, true, &kv), std::vector<float>{1});  // The first one was kept.
}

TEST_F(ContextEndTest, AColumnThatOthersComputedHasNoStateUntilItIsGiven) {
  const std::vector<int32_t> ids = Tokens(16);
  KvSequence plain(kLayers);
  cache_.Open(ContentKey{1}, &plain);
  KvCache::Placement placement;
  ASSERT_TRUE(cache_.Append(&plain, 16, &placement));
  cache_.Publish({.ids = ids, .media = {}}, {}, &plain);
  KvSequence kv(kLayers);
  EXPECT_EQ(Start(ids, true, &kv), nullptr);
  const SnapshotSpec spec = SpecOf(ids);
  cache_.StoreContextEnd(SnapshotKey(spec), spec, {7}, &plain);
  EXPECT_EQ(cache_.snapshots().size(), 0);  // Kept with the column.
  EXPECT_EQ(*Start(ids, true, &kv), std::vector<float>{7});
}

TEST_F(ContextEndTest, YieldsEndWhatTheirSeekersTake) {
  const std::vector<int32_t> ids = Tokens(48);
  const TokenView tokens{.ids = ids, .media = {}};
  KvSequence first(kLayers);
  cache_.Open(ContentKey{1}, &first);
  KvCache::Placement placement;
  ASSERT_TRUE(cache_.Append(&first, 48, &placement));
  cache_.Publish(tokens, {}, &first);
  const auto yield = [](float value) {
    return std::make_shared<const ColumnYield>(
        ColumnYield{.logprobs = std::vector<float>(kSlotsPerPage, value), .last_state = {value}});
  };
  cache_.AttachYields(first, 0,
                      std::vector<std::shared_ptr<const ColumnYield>>{yield(1), yield(2)});
  KvSequence seeker(kLayers);
  cache_.Open(ContentKey{1}, &seeker);
  const std::vector<ContentKey> keys = ColumnKeys(ContentKey{1}, tokens);
  const auto match = cache_.Extend(tokens, keys, 47, KvCache::Columns::kYielded, &seeker);
  EXPECT_EQ(seeker.num_shared_columns(), 2);
  EXPECT_FALSE(match.partial);
  const auto yields = cache_.YieldsOf(seeker, 1);
  ASSERT_EQ(yields.size(), 1u);
  EXPECT_EQ(yields[0]->last_state, std::vector<float>{2});
  EXPECT_GT(cache_.index().score_bytes(), 0u);
}

}  // namespace
}  // namespace prefixd
