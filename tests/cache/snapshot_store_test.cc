#include "cache/snapshot_store.h"

#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cache/prefix_fixture.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using testing::MediaId;
using testing::TestRoot;
using testing::Text;

ContentKey Recipe(uint8_t n) {
  ContentKey recipe{};
  recipe[31] = n;
  return recipe;
}

class SnapshotStoreTest : public ::testing::Test {
 protected:
  ~SnapshotStoreTest() override { store_.CheckInvariants(pool_); }

  // A snapshot of layers that hold this many slots each, at positions 0, 1, ...
  Snapshot Make(const std::vector<int32_t>& lengths, int32_t num_tokens = 100) {
    Snapshot snapshot{.num_tokens = num_tokens, .score_mass = 0.5};
    for (const int32_t length : lengths) {
      std::vector<int32_t> positions(length);
      std::iota(positions.begin(), positions.end(), 0);
      snapshot.layers.push_back(LayerTable::OfPositions(positions, &pool_));
    }
    return snapshot;
  }

  SnapshotSpec Spec(const Text& text, uint8_t recipe = 1, absl::string_view tenant = "a") const {
    return {.root_key = TestRoot(tenant), .recipe = Recipe(recipe), .tokens = text.view()};
  }
  SnapshotStore::Pin Find(const SnapshotSpec& spec, uint64_t clock = 0) {
    return store_.Find(SnapshotKey(spec), spec, clock);
  }
  SnapshotStore::Pin Insert(const SnapshotSpec& spec, const std::vector<int32_t>& lengths,
                            int32_t tenant = 0, uint64_t cost = 1, uint64_t clock = 0) {
    return store_.Insert(SnapshotKey(spec), spec, tenant, cost, clock, Make(lengths));
  }

  PagePool pool_{256};
  SnapshotStore store_;
};

TEST_F(SnapshotStoreTest, FindsWhatWasStored) {
  const Text text = Text().Count(0, 10).Image(1, 20).Count(0, 3);
  {
    const SnapshotStore::Pin pin = Insert(Spec(text), {17, 2, 33});
    ASSERT_TRUE(pin);
    EXPECT_EQ(pin->num_pages(), 2 + 1 + 3);
  }
  const SnapshotStore::Pin pin = Find(Spec(text));
  ASSERT_TRUE(pin);
  EXPECT_EQ(pin->num_tokens, 100);
  EXPECT_EQ(pin->score_mass, 0.5);
  ASSERT_EQ(pin->layers.size(), 3u);
  EXPECT_EQ(pin->layers[2].length(), 33);
  EXPECT_EQ(store_.counters().hits, 1u);
  EXPECT_EQ(store_.counters().made, 1u);
  EXPECT_EQ(store_.size(), 1);
}

// --- What a hit requires -------------------------------------------------------------------------

struct Difference {
  const char* what;
  Text text;
  uint8_t recipe = 1;
  absl::string_view tenant = "a";
  absl::string_view salt = "";
};

std::vector<Difference> Differences() {
  const auto with_image = [](int32_t before, uint8_t id, int32_t rows) {
    return Text().Count(0, before).Image(id, rows).Count(50, 30 - before - rows);
  };
  std::vector<Difference> all;
  all.push_back({.what = "a token", .text = with_image(10, 1, 15)});
  all.back().text.ids.back() ^= 1;
  all.push_back({.what = "one token less", .text = with_image(10, 1, 15)});
  all.back().text.ids.pop_back();
  all.push_back({.what = "one token more", .text = with_image(10, 1, 15).Count(9, 1)});
  all.push_back({.what = "another image", .text = with_image(10, 2, 15)});
  all.push_back({.what = "no image", .text = with_image(10, 1, 15)});
  all.back().text.media.clear();
  all.push_back({.what = "rows of the image", .text = with_image(10, 1, 15)});
  all.back().text.media[0].num_rows = 14;
  all.push_back({.what = "where the image begins", .text = with_image(10, 1, 15)});
  all.back().text.media[0].row_begin = 9;
  all.push_back({.what = "two images for one", .text = with_image(10, 1, 15)});
  all.back().text.media = {{10, 7, MediaId(1)}, {17, 8, MediaId(1)}};
  all.push_back({.what = "the recipe", .text = with_image(10, 1, 15), .recipe = 2});
  all.push_back({.what = "the tenant", .text = with_image(10, 1, 15), .tenant = "b"});
  all.push_back({.what = "the salt", .text = with_image(10, 1, 15), .salt = "s"});
  return all;
}

SnapshotSpec SpecOf(const Difference& of) {
  return {.root_key = TestRoot(of.tenant, of.salt),
          .recipe = Recipe(of.recipe),
          .tokens = of.text.view()};
}

TEST_F(SnapshotStoreTest, EveryDifferenceIsAnotherKey) {
  const Text text = Text().Count(0, 10).Image(1, 15).Count(50, 5);
  std::map<ContentKey, const char*> keys = {{SnapshotKey(Spec(text)), "the original"}};
  const std::vector<Difference> differences = Differences();
  for (const Difference& difference : differences) {
    const auto [at, added] = keys.emplace(SnapshotKey(SpecOf(difference)), difference.what);
    EXPECT_TRUE(added) << difference.what << " is the key of " << at->second;
  }
}

TEST_F(SnapshotStoreTest, EqualKeysOfOtherContentAreNoHit) {
  const Text text = Text().Count(0, 10).Image(1, 15).Count(50, 5);
  const ContentKey key{};  // Of everything.
  store_.Insert(key, Spec(text), 0, 1, 0, Make({16}));
  ASSERT_TRUE(store_.Find(key, Spec(text), 0));
  uint64_t collisions = 0;
  const std::vector<Difference> differences = Differences();
  for (const Difference& difference : differences) {
    EXPECT_FALSE(store_.Find(key, SpecOf(difference), 0)) << difference.what;
    EXPECT_EQ(store_.counters().collisions, ++collisions);
  }
  EXPECT_EQ(store_.counters().misses, collisions);
}

TEST_F(SnapshotStoreTest, EqualKeysOfOtherContentAreNotStoredNorReturned) {
  const Text text = Text().Count(0, 10), other = Text().Count(1, 10);
  const ContentKey key{};
  const SnapshotStore::Pin first = store_.Insert(key, Spec(text), 0, 1, 0, Make({16}));
  const SnapshotStore::Pin second = store_.Insert(key, Spec(other), 0, 1, 0, Make({32}));
  EXPECT_FALSE(second) << "a session on it would read another prompt's keys";
  EXPECT_EQ(store_.size(), 1);
  EXPECT_EQ(store_.counters().collisions, 1u);
  EXPECT_EQ(pool_.num_free(), 255);
  EXPECT_TRUE(store_.Find(key, Spec(text), 0));
}

TEST_F(SnapshotStoreTest, RunsBeyondTheTokensDoNotCount) {
  // The view of a prefix may come with the images of the whole prompt.
  const Text prefix = Text().Count(0, 5).Image(1, 10);
  Text whole = prefix;
  whole.Count(3, 4).Image(2, 8);
  const TokenView view = {absl::MakeConstSpan(whole.ids).subspan(0, prefix.ids.size()),
                          whole.media};
  const SnapshotSpec spec = {TestRoot("a"), Recipe(1), view};
  EXPECT_EQ(SnapshotKey(spec), SnapshotKey(Spec(prefix)));
  Insert(spec, {16});
  EXPECT_TRUE(Find(Spec(prefix)));
}

TEST_F(SnapshotStoreTest, TheSecondOfEqualSnapshotsGivesItsPagesBack) {
  const Text text = Text().Count(0, 10);
  const SnapshotStore::Pin first = Insert(Spec(text), {16, 20});
  const int32_t free = pool_.num_free();
  const SnapshotStore::Pin second = Insert(Spec(text), {16, 20});
  ASSERT_TRUE(second);
  EXPECT_EQ(&*first, &*second);
  EXPECT_EQ(pool_.num_free(), free);
  EXPECT_EQ(store_.size(), 1);
  EXPECT_EQ(store_.counters().made, 1u);
}

// --- Pins ----------------------------------------------------------------------------------------

TEST_F(SnapshotStoreTest, PagesAreEvictableWhileNoPinIsLeft) {
  const Text text = Text().Count(0, 10);
  std::optional<SnapshotStore::Pin> pin = Insert(Spec(text), {16, 20}, 1);
  EXPECT_EQ(store_.num_pages(1), 3);
  EXPECT_EQ(store_.evictable_pages(1), 0);
  EXPECT_EQ(store_.LowestPriority(-1), std::nullopt);
  EXPECT_EQ(store_.EvictLowest(-1), 0);
  std::optional<SnapshotStore::Pin> clone = pin->Clone();
  SnapshotStore::Pin found = Find(Spec(text));
  pin.reset();
  EXPECT_EQ(store_.evictable_pages(1), 0);
  clone.reset();
  EXPECT_EQ(store_.evictable_pages(1), 0);
  found = {};
  EXPECT_EQ(store_.evictable_pages(1), 3);
  EXPECT_EQ(store_.EvictLowest(-1), 3);
  EXPECT_EQ(store_.num_pages(), 0);
  EXPECT_EQ(store_.evictable_pages(), 0);
  EXPECT_EQ(pool_.num_free(), 256);
  EXPECT_EQ(store_.counters().evicted, 1u);
}

TEST_F(SnapshotStoreTest, PinsMoveAndANullOneClonesToNull) {
  const Text text = Text().Count(0, 10);
  SnapshotStore::Pin pin = Insert(Spec(text), {16});
  SnapshotStore::Pin moved = std::move(pin);
  EXPECT_FALSE(pin);  // NOLINT(bugprone-use-after-move): what the header says of it.
  EXPECT_FALSE(pin.Clone());
  EXPECT_EQ(store_.evictable_pages(), 0);
  pin = std::move(moved);
  moved = {};
  EXPECT_EQ(store_.evictable_pages(), 0);
  pin = {};
  EXPECT_EQ(store_.evictable_pages(), 1);
}

TEST_F(SnapshotStoreTest, ASessionsPagesOutliveTheSnapshot) {
  const Text text = Text().Count(0, 10);
  std::optional<LayerTable> table;
  {
    const SnapshotStore::Pin pin = Insert(Spec(text), {16});
    table = pin->layers[0].Fork();
  }
  EXPECT_EQ(store_.EvictLowest(-1), 1);
  EXPECT_EQ(pool_.num_free(), 255);
  table.reset();
  EXPECT_EQ(pool_.num_free(), 256);
}

// --- The order of eviction -----------------------------------------------------------------------

TEST_F(SnapshotStoreTest, EvictsTheLowestPriorityThenTheLeastRecentlyUsed) {
  std::vector<Text> texts;
  for (int32_t i = 0; i < 5; ++i) texts.push_back(Text().Count(i, 10));
  // Pages name the snapshots. Priority: clock + cost.
  Insert(Spec(texts[0]), {16}, 0, /*cost=*/9, /*clock=*/0);                 // 9, used first.
  Insert(Spec(texts[1]), {16, 16}, 0, /*cost=*/4, /*clock=*/5);             // 9.
  Insert(Spec(texts[2]), {16, 16, 16}, 0, /*cost=*/1, /*clock=*/7);         // 8.
  Insert(Spec(texts[3]), {16, 16, 16, 16}, 0, /*cost=*/2, /*clock=*/0);     // 2 until it is used.
  Insert(Spec(texts[4]), std::vector<int32_t>(5, 16), 0, 20, /*clock=*/0);  // 20.
  Find(Spec(texts[3]), /*clock=*/7);                                        // 9, used last.
  std::vector<std::pair<uint64_t, int64_t>> evicted;                        // Priority, pages.
  while (const std::optional<uint64_t> lowest = store_.LowestPriority(-1)) {
    evicted.emplace_back(*lowest, store_.EvictLowest(-1));
  }
  using Entry = std::pair<uint64_t, int64_t>;
  EXPECT_THAT(evicted,
              ElementsAre(Entry{8, 3}, Entry{9, 1}, Entry{9, 2}, Entry{9, 4}, Entry{20, 5}));
}

TEST_F(SnapshotStoreTest, StoringItAgainIsAUse) {
  const Text text = Text().Count(0, 10), other = Text().Count(1, 10);
  Insert(Spec(text), {16}, 0, 1, 0);
  Insert(Spec(other), {16, 16}, 0, 1, 0);
  Insert(Spec(text), {16}, 0, 1, 0);
  EXPECT_EQ(store_.EvictLowest(-1), 2);
}

TEST_F(SnapshotStoreTest, TenantsAreAccountedAndEvictedApart) {
  const Text text = Text().Count(0, 10);
  Insert(Spec(text, 1, "a"), {16}, 0, 5);
  Insert(Spec(text, 1, "b"), {16, 16}, 2, 1);
  const SnapshotStore::Pin used = Insert(Spec(text, 2, "b"), {16, 16, 16}, 2, 0);
  EXPECT_EQ(store_.num_pages(0), 1);
  EXPECT_EQ(store_.num_pages(1), 0);
  EXPECT_EQ(store_.num_pages(2), 5);
  EXPECT_EQ(store_.evictable_pages(2), 2);
  EXPECT_EQ(store_.num_pages(7), 0) << "nobody knows him";
  EXPECT_EQ(store_.num_pages(), 6);
  EXPECT_EQ(store_.LowestPriority(0), 5u);
  EXPECT_EQ(store_.LowestPriority(1), std::nullopt);
  EXPECT_EQ(store_.LowestPriority(-1), 1u);
  EXPECT_EQ(store_.EvictLowest(0), 1);
  EXPECT_EQ(store_.EvictLowest(0), 0);
  EXPECT_EQ(store_.EvictLowest(2), 2);
  EXPECT_EQ(store_.EvictLowest(2), 0) << "the other one is in use";
  EXPECT_EQ(store_.num_pages(2), 3);
}

TEST_F(SnapshotStoreTest, TellsThePagesThatAreInUse) {
  const Text text = Text().Count(0, 10), other = Text().Count(1, 10);
  const SnapshotStore::Pin used = Insert(Spec(text), {16, 17});
  Insert(Spec(other), {16});
  int64_t num_used = 0, unused = 0;
  store_.ForEachPage([&](PageId id, bool in_use) {
    EXPECT_EQ(pool_.ref_count(id), 1);
    ++(in_use ? num_used : unused);
  });
  EXPECT_EQ(num_used, 3);
  EXPECT_EQ(unused, 1);
}

}  // namespace
}  // namespace prefixd
