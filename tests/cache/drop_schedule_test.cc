// Which positions each layer holds while it decodes, against the published list: entries are
// appended, and `del entries[index]` runs while the list is over its budget (prefixkv.py).
#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/kv_cache.h"
#include "tests/cache/kept_sets.h"
#include "tests/cache/profile_counts.h"

namespace prefixd {
namespace {

using ::testing::ElementsAreArray;
using testing::PublishedIndex;
using testing::RandomKept;

struct PublishedLayer {
  std::vector<int32_t> entries;
  int32_t index = 0;
  double ratio = 0;
  int32_t kept = 0;

  void Decode(int32_t position) {
    entries.push_back(position);
    const int32_t seen = position + 1;
    const int32_t over = static_cast<int32_t>(
        std::trunc(static_cast<double>(entries.size()) - seen * (1.0 - ratio)));
    if (over > 0 && index < static_cast<int32_t>(entries.size())) {
      entries.erase(entries.begin() + index);
    }
  }
  // The most entries that the list ever has after `seen` tokens.
  int32_t Cap(int32_t seen) const {
    return std::max(kept + 1, static_cast<int32_t>(std::ceil(seen * (1.0 - ratio))) + 2);
  }
};

// Positions in the live slots, ascending, without the one that the next token takes.
std::vector<int32_t> Held(const LayerTable& table) {
  std::vector<int32_t> held;
  for (int32_t slot = 0; slot < table.length(); ++slot) {
    if (slot != table.free_slot()) held.push_back(table.positions()[slot]);
  }
  std::sort(held.begin(), held.end());
  return held;
}

// Compresses `prompt` tokens to `layers` and decodes `steps` tokens.
void CompareSchedules(int32_t prompt, int steps, std::vector<PublishedLayer> layers) {
  const int num_layers = static_cast<int>(layers.size());
  KvCache cache(num_layers, num_layers * ((prompt + steps) / kSlotsPerPage + 2) * 2);
  KvSequence sequence(num_layers);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&sequence, prompt, &placement));
  std::vector<LayerBudget> budgets;
  for (int i = 0; i < num_layers; ++i) {
    cache.Compress(i, layers[i].entries, &sequence);
    budgets.push_back({.forget_ratio = layers[i].ratio, .first_droppable = layers[i].index});
  }
  cache.FinishCompress(&sequence);
  cache.BeginDrops(budgets, &sequence);
  for (int step = 0; step < steps; ++step) {
    ASSERT_TRUE(cache.Append(&sequence, 1, &placement));
    const int32_t dropped = cache.DropOldest(&sequence);
    int32_t expected_drops = 0;
    for (int i = 0; i < num_layers; ++i) {
      SCOPED_TRACE(::testing::Message() << "step " << step << " layer " << i);
      const LayerTable& table = sequence.layer(i);
      const size_t before = layers[i].entries.size();
      layers[i].Decode(prompt + step);
      expected_drops += layers[i].entries.size() == before ? 1 : 0;
      ASSERT_THAT(Held(table), ElementsAreArray(layers[i].entries));
      ASSERT_LE(table.length(), layers[i].Cap(prompt + step + 1));
      const int32_t pages = (table.length() + kSlotsPerPage - 1) / kSlotsPerPage;
      ASSERT_EQ(static_cast<int32_t>(table.page_ids().size()), pages);
    }
    ASSERT_EQ(dropped, expected_drops);
  }
  cache.CheckInvariants({&sequence});
}

PublishedLayer LayerOf(int32_t prompt, int32_t kept, double ratio, std::mt19937* random) {
  return {RandomKept(prompt, kept, random), PublishedIndex(kept), ratio, kept};
}

TEST(DropSchedule, EqualsThePublishedListInAllLayersOfThe7BProfile) {
  std::mt19937 random(11);
  constexpr int32_t kPrompt = testing::kProfilePrompt;
  std::vector<PublishedLayer> layers;
  for (const int32_t forgotten : testing::kForgotten80) {
    const double ratio = static_cast<double>(forgotten) / kPrompt;
    layers.push_back(LayerOf(kPrompt, kPrompt - forgotten, ratio, &random));
  }
  CompareSchedules(kPrompt, 300, std::move(layers));
}

TEST(DropSchedule, EqualsThePublishedListForRandomLayers) {
  std::mt19937 random(12);
  for (int round = 0; round < 60; ++round) {
    SCOPED_TRACE(round);
    const int32_t prompt = 1 + static_cast<int32_t>(random() % 120);
    std::vector<PublishedLayer> layers;
    for (int i = 0; i < 8; ++i) {
      // Ratios of an offline profile are near the count; layers that keep next to nothing too.
      const double ratio = i == 0 ? 0.0 : i == 1 ? 0.9925 : (random() % 1000) / 1000.0;
      const double exact = ratio * prompt;
      const int32_t forgotten = std::min(static_cast<int32_t>(std::nearbyint(exact)), prompt - 1);
      layers.push_back(LayerOf(prompt, prompt - forgotten, ratio, &random));
    }
    CompareSchedules(prompt, 300, std::move(layers));
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(DropSchedule, ALayerThatKeepsTwoToSixDropsInItsMiddle) {
  std::mt19937 random(13);
  std::vector<PublishedLayer> layers;
  for (int32_t kept = 2; kept <= 6; ++kept) {
    layers.push_back(LayerOf(640, kept, 1.0 - kept / 640.0, &random));
    EXPECT_EQ(layers.back().index, kept / 2);
  }
  CompareSchedules(640, 300, std::move(layers));
}

// A session on a compressed prefix: the budget counts from its own tokens on, at the rate of the
// profile, over what it started with.
TEST(DropSchedule, ABudgetWithAnOffsetGrowsFromWhatItStartsWith) {
  constexpr int32_t kPrompt = 100, kKept = 20;
  std::mt19937 random(14);
  KvCache cache(1, 64);
  KvSequence sequence(1);
  KvCache::Placement placement;
  ASSERT_TRUE(cache.Append(&sequence, kPrompt, &placement));
  const std::vector<int32_t> kept = RandomKept(kPrompt, kKept, &random);
  cache.Compress(0, kept, &sequence);
  cache.FinishCompress(&sequence);
  ASSERT_TRUE(cache.Append(&sequence, 30, &placement));  // A suffix, all of it kept.
  cache.BeginDrops({{.forget_ratio = 0.75,
                     .offset = kKept + 30,
                     .seen_before = kPrompt + 30,
                     .first_droppable = 25}},
                   &sequence);
  std::vector<int32_t> entries = kept;
  for (int32_t i = 0; i < 30; ++i) entries.push_back(kPrompt + i);
  for (int32_t generated = 1; generated <= 200; ++generated) {
    ASSERT_TRUE(cache.Append(&sequence, 1, &placement));
    cache.DropOldest(&sequence);
    entries.push_back(kPrompt + 29 + generated);
    if (static_cast<double>(entries.size()) - (kKept + 30 + 0.25 * generated) >= 1.0) {
      entries.erase(entries.begin() + 25);
    }
    ASSERT_THAT(Held(sequence.layer(0)), ElementsAreArray(entries)) << generated;
  }
  EXPECT_EQ(entries.size(), 100u) << "50 to start with and a quarter of 200";
}

}  // namespace
}  // namespace prefixd
