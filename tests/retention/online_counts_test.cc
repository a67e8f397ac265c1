#include "cache/retention/online_counts.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

using testing::Message;

int64_t Total(const std::vector<int32_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), int64_t{0});
}

// Two layers of eight tokens, two of them protected. Keys: the cumulative share that is left when
// the k-th entry goes. All exact in binary.
//   layer 0: 10 1 1 1 1 1 1 0 of 16 -> .875 .8125 .75 .6875 .625
//   layer 1: all 2, of 16           -> .625 .5 .375 .25 .125
OwnedPrompt Toy() {
  return {.num_layers = 2,
          .num_tokens = 8,
          .scores = {10, 1, 1, 1, 1, 1, 1, 0, 2, 2, 2, 2, 2, 2, 2, 2}};
}

TEST(OnlineCounts, ForgetsTheEntriesOfTheHighestKeys) {
  const OwnedPrompt toy = Toy();
  const auto counts = [&](double forgotten) {
    return OnlineForgetCounts(toy.view(), forgotten / 16, 2);
  };
  EXPECT_EQ(counts(0), (std::vector<int32_t>{0, 0}));
  EXPECT_EQ(counts(1), (std::vector<int32_t>{1, 0}));
  EXPECT_EQ(counts(4), (std::vector<int32_t>{4, 0}));
  EXPECT_EQ(counts(5), (std::vector<int32_t>{4, 1}));  // .625 in both: the higher layer first.
  EXPECT_EQ(counts(6), (std::vector<int32_t>{5, 1}));
  EXPECT_EQ(counts(8), (std::vector<int32_t>{5, 3}));
  EXPECT_EQ(counts(10), (std::vector<int32_t>{5, 5}));
  EXPECT_EQ(counts(15), (std::vector<int32_t>{5, 5}));  // No layer forgets more.
}

// All keys in one list, sorted as the rule says.
std::vector<int32_t> SortedByTheRule(const OwnedPrompt& prompt, double forget_ratio,
                                     int32_t num_protected) {
  const int32_t n = prompt.num_tokens;
  std::vector<std::tuple<double, int, int32_t>> entries;  // -key, -layer, k.
  for (int layer = 0; layer < prompt.num_layers; ++layer) {
    const auto scores = prompt.view().layer(layer);
    std::vector<double> c(scores.begin(), scores.end());
    std::sort(c.begin(), c.end(), std::greater<>());
    std::partial_sum(c.begin(), c.end(), c.begin());
    for (int32_t k = 1; k <= n - 1 - num_protected; ++k) {
      const auto at = static_cast<size_t>(n - num_protected - k - 1);
      const double key = c.back() > 0 ? c[at] / c.back() : static_cast<double>(at + 1) / n;
      entries.emplace_back(-key, -layer, k);
    }
  }
  std::sort(entries.begin(), entries.end());
  const auto total = std::min(static_cast<size_t>(RoundHalfEven(static_cast<double>(
                                  static_cast<double>(prompt.num_layers) * n * forget_ratio))),
                              entries.size());
  std::vector<int32_t> counts(static_cast<size_t>(prompt.num_layers), 0);
  for (size_t i = 0; i < total; ++i) ++counts[static_cast<size_t>(-std::get<1>(entries[i]))];
  return counts;
}

TEST(OnlineCounts, AreTheSortedListOfTheRuleOnRandomScores) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 400; ++round) {
    const int num_layers = 1 + static_cast<int>(random() % 6);
    const int32_t num_tokens = 1 + static_cast<int32_t>(random() % 70);
    const int32_t num_protected = 1 + static_cast<int32_t>(random() % 8);
    OwnedPrompt prompt =
        RandomPrompt(&random, num_layers, num_tokens, static_cast<Spread>(round % 5));
    if (round % 3 == 0 && num_layers > 1) {  // Two layers alike: keys tie across layers.
      std::copy_n(prompt.scores.begin(), num_tokens, prompt.scores.end() - num_tokens);
    }
    const double ratio = static_cast<double>(random() % 1000) / 1000;
    EXPECT_EQ(OnlineForgetCounts(prompt.view(), ratio, num_protected),
              SortedByTheRule(prompt, ratio, num_protected))
        << "round " << round;
  }
}

TEST(OnlineCounts, AreExactInTotalAndMonotoneInTheRatio) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 60; ++round) {
    const int num_layers = 1 + static_cast<int>(random() % 8);
    const int32_t num_tokens = 1 + static_cast<int32_t>(random() % 200);
    const OwnedPrompt prompt =
        RandomPrompt(&random, num_layers, num_tokens, static_cast<Spread>(round % 5));
    std::vector<int32_t> before(static_cast<size_t>(num_layers), 0);
    for (int step = 0; step < 100; ++step) {
      const double ratio = step / 100.0;
      const auto counts = OnlineForgetCounts(prompt.view(), ratio, 2);
      const int64_t most = static_cast<int64_t>(num_layers) * std::max(0, num_tokens - 3);
      EXPECT_EQ(
          Total(counts),
          std::min(RoundHalfEven(static_cast<double>(num_layers) * num_tokens * ratio), most));
      for (size_t i = 0; i < counts.size(); ++i) {
        EXPECT_GE(counts[i], before[i]) << Message() << "round " << round << " ratio " << ratio;
        EXPECT_LE(counts[i], std::max(0, num_tokens - 3));
      }
      before = counts;
    }
  }
}

// The published count function: f(p) = max(0, n - (i(p) + 1) - protected), i(p) the first index
// where the cumulative share reaches p. At any threshold between two keys both agree.
TEST(OnlineCounts, EqualThePublishedFunctionAtEveryThreshold) {
  std::mt19937_64 random(9);
  const OwnedPrompt prompt = RandomPrompt(&random, 4, 90, Spread::kPeaked);
  for (int step = 1; step < 1000; ++step) {
    const double threshold = step / 1000.0;
    std::vector<int32_t> published;
    for (int layer = 0; layer < prompt.num_layers; ++layer) {
      const auto scores = prompt.view().layer(layer);
      std::vector<double> c(scores.begin(), scores.end());
      std::sort(c.begin(), c.end(), std::greater<>());
      const double sum = std::accumulate(c.begin(), c.end(), 0.0);
      int32_t first = 0;
      for (double so_far = c[0] / sum; first < 90 && so_far < threshold;) {
        ++first;
        if (first < 90) so_far += c[static_cast<size_t>(first)] / sum;
      }
      published.push_back(std::max(0, 90 - (first + 1) - 2));
    }
    const double ratio = static_cast<double>(Total(published)) / (4 * 90);
    EXPECT_EQ(OnlineForgetCounts(prompt.view(), ratio, 2), published) << threshold;
  }
}

TEST(OnlineCounts, AreEqualWhereAttentionIsUniform) {
  std::mt19937_64 random(10);
  for (const Spread spread : {Spread::kEven, Spread::kZero}) {
    const OwnedPrompt prompt = RandomPrompt(&random, 5, 77, spread);
    for (int step = 0; step < 50; ++step) {
      const auto counts = OnlineForgetCounts(prompt.view(), step / 50.0, 2);
      const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
      EXPECT_LE(*most - *least, 1);
    }
  }
}

TEST(OnlineCounts, AOneHotLayerIsForgottenFirst) {
  OwnedPrompt prompt = {.num_layers = 2, .num_tokens = 50, .scores = std::vector<float>(100, 1)};
  for (size_t k = 0; k < 50; ++k) prompt.scores[k] = k == 20 ? 50 : 0;
  // Its cumulative share is 1 from the first entry on: all 47 of it go before any of the other.
  EXPECT_EQ(OnlineForgetCounts(prompt.view(), 0.47, 2), (std::vector<int32_t>{47, 0}));
  EXPECT_EQ(OnlineForgetCounts(prompt.view(), 0.5, 2), (std::vector<int32_t>{47, 3}));
}

TEST(OnlineCounts, TakeLittleTimeOnALargePrompt) {
  std::mt19937_64 random(11);
  const OwnedPrompt prompt = RandomPrompt(&random, 40, 2048, Spread::kPeaked);
  double best_ms = 1e9;
  for (int run = 0; run < 10; ++run) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(Total(OnlineForgetCounts(prompt.view(), 0.8, 2)), 65536);
    const std::chrono::duration<double, std::milli> taken =
        std::chrono::steady_clock::now() - start;
    best_ms = std::min(best_ms, taken.count());
  }
  std::cout << "online counts, 40 layers x 2048 tokens: " << best_ms << " ms\n";
  EXPECT_LT(best_ms, 100);  // 1 to 3 in a release build; sanitizers need more.
}

}  // namespace
}  // namespace prefixd
