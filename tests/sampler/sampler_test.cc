#include "tests/sampler/draw_testing.h"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

int32_t SampleOnce(const std::vector<float>& logits, const SamplingParams& params,
                   SampleRow row = {}) {
  DrawScratch scratch;
  row.params = &params;
  return Sample(logits, row, &scratch);
}

// How often each token comes in `draws` steps.
std::vector<int> Histogram(const std::vector<float>& logits, const SamplingParams& params,
                           uint32_t draws, uint64_t seed = 1) {
  DrawScratch scratch;
  std::vector<int> counts(logits.size());
  for (uint32_t step = 0; step < draws; ++step) {
    ++counts[Sample(logits, {.params = &params, .seed = seed, .step = step}, &scratch)];
  }
  return counts;
}

TEST(Philox, MatchesThePublishedVectors) {
  EXPECT_THAT(Philox4x32(0, {0, 0, 0, 0}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Philox4x32(0xffffffffffffffff, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32(0x299f31d0a4093822, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(TokenCounter, ListsDistinctIdsInOrderOfOccurrence) {
  TokenCounter counts;
  counts.AddPrompt({5, 0, 5});
  counts.AddGenerated(9);
  counts.AddGenerated(0);
  counts.AddGenerated(9);
  ASSERT_EQ(counts.entries().size(), 3u);
  EXPECT_EQ(counts.entries()[0].id, 5);
  EXPECT_EQ(counts.entries()[0].generated, 0);
  EXPECT_EQ(counts.entries()[1].id, 0);
  EXPECT_EQ(counts.entries()[1].generated, 1);
  EXPECT_EQ(counts.entries()[2].id, 9);
  EXPECT_EQ(counts.entries()[2].generated, 2);
}

TEST(Sampler, GreedyTakesTheLowestOfTheLargest) {
  EXPECT_EQ(SampleOnce({1, 3, 2, 3}, {}), 1);
  EXPECT_EQ(SampleOnce({1, 3, 2, 3}, {.temperature = 9e-7f}), 1);
  EXPECT_EQ(SampleOnce({-kInfinity, -5}, {}), 1);
}

TEST(Sampler, GreedyComesAfterBiasAndPenalties) {
  EXPECT_EQ(SampleOnce({1, 3, 2}, {.logit_bias = {{2, 1.5f}}}), 2);
  TokenCounter counts;
  counts.AddPrompt({1});
  counts.AddGenerated(2);
  const SampleRow row = {.counts = &counts};
  EXPECT_EQ(SampleOnce({1, 3, 2}, {.repetition_penalty = 4}, row), 0);
  EXPECT_EQ(SampleOnce({1, 3, 3.5f}, {.presence_penalty = 1}, row), 1);
  EXPECT_EQ(SampleOnce({1, 3, 2}, {.presence_penalty = 2}, row), 1)
      << "presence does not count the prompt";
  EXPECT_EQ(SampleOnce({-4, -3, -3.5f}, {.repetition_penalty = 2}, row), 0)
      << "negative logits are multiplied";
}

TEST(Sampler, FrequencyGrowsWithEveryOccurrence) {
  TokenCounter counts;
  counts.AddGenerated(0);
  const SampleRow row = {.counts = &counts};
  const SamplingParams params = {.frequency_penalty = 0.4f};
  EXPECT_EQ(SampleOnce({2, 1}, params, row), 0);
  counts.AddGenerated(0);
  EXPECT_EQ(SampleOnce({2, 1}, params, row), 0);
  counts.AddGenerated(0);
  EXPECT_EQ(SampleOnce({2, 1}, params, row), 1);
}

TEST(Sampler, NeverTakesASuppressedToken) {
  const std::vector<int32_t> suppressed = {1, 3};
  const SampleRow row = {.suppressed = suppressed};
  EXPECT_EQ(SampleOnce({1, 9, 2, 9}, {.logit_bias = {{1, 100.0f}}}, row), 2);
  DrawScratch scratch;
  const SamplingParams warm = {.temperature = 100};
  for (uint32_t step = 0; step < 500; ++step) {
    const int32_t id = Sample(std::vector<float>{1, 9, 2, 9},
                              {.params = &warm, .step = step, .suppressed = suppressed}, &scratch);
    EXPECT_TRUE(id == 0 || id == 2) << id;
  }
}

TEST(Sampler, ReportsRowsThatFailed) {
  for (const float temperature : {0.0f, 1.0f}) {
    const SamplingParams params = {.temperature = temperature};
    EXPECT_EQ(SampleOnce({1, kNan, 2}, params), -1);
    EXPECT_EQ(SampleOnce({-kInfinity, -kInfinity}, params), -1);
    const std::vector<int32_t> all = {0, 1};
    EXPECT_EQ(SampleOnce({1, 2}, params, {.suppressed = all}), -1);
  }
  EXPECT_EQ(SampleOnce({1, kInfinity}, {.temperature = 1.0f}), -1);
}

TEST(Sampler, DrawsInProportion) {
  // Probabilities 1/8, 1/2, 1/8, 1/4 and nothing.
  const std::vector<float> logits = {0, std::log(4.0f), 0, std::log(2.0f), -kInfinity};
  constexpr int kDraws = 80000;
  const std::vector<int> counts = Histogram(logits, {.temperature = 1}, kDraws);
  const std::vector<double> expected = {10000, 40000, 10000, 20000};
  double chi_square = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    chi_square += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
  }
  EXPECT_LT(chi_square, 16.27) << "3 degrees of freedom, 0.1 %";
  EXPECT_EQ(counts[4], 0);
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  const std::vector<float> logits = {0, std::log(3.0f)};  // 1/4 and 3/4.
  // At 1/2 the odds are 9 to 1, at 2 they are sqrt(3) to 1.
  EXPECT_NEAR(Histogram(logits, {.temperature = 0.5f}, 20000)[0], 2000, 150);
  EXPECT_NEAR(Histogram(logits, {.temperature = 2.0f}, 20000)[0], 7320, 300);
}

TEST(Sampler, TopKKeepsTiesAtTheLastPlace) {
  const std::vector<int> counts = Histogram({1, 2, 3, 2, 0}, {.temperature = 1, .top_k = 2}, 2000);
  EXPECT_EQ(counts[0], 0);
  EXPECT_GT(counts[1], 0);
  EXPECT_GT(counts[2], 0);
  EXPECT_GT(counts[3], 0);
  EXPECT_EQ(counts[4], 0);
}

TEST(Sampler, TopPKeepsTheTokenThatCrossesTheLimit) {
  // 1/8, 1/2, 1/8, 1/4.
  const std::vector<float> logits = {0, std::log(4.0f), 0, std::log(2.0f)};
  const auto kept = [&](float top_p) {
    const std::vector<int> counts = Histogram(logits, {.temperature = 1, .top_p = top_p}, 2000);
    std::vector<int> ids;
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) ids.push_back(static_cast<int>(i));
    }
    return ids;
  };
  EXPECT_THAT(kept(1e-6f), ElementsAre(1));
  EXPECT_THAT(kept(0.49f), ElementsAre(1));
  EXPECT_THAT(kept(0.51f), ElementsAre(1, 3));
  EXPECT_THAT(kept(0.74f), ElementsAre(1, 3));
  EXPECT_THAT(kept(0.76f), ElementsAre(0, 1, 3)) << "of equal tokens the lower id comes first";
  EXPECT_THAT(kept(0.9f), ElementsAre(0, 1, 2, 3));
}

TEST(Sampler, TopPSeesWhatTopKLeft) {
  // Of 4, 2, 1, 1 top-k leaves 4 and 2, and the 4 alone holds 2/3.
  const std::vector<float> logits = {0, std::log(4.0f), 0, std::log(2.0f)};
  const std::vector<int> counts =
      Histogram(logits, {.temperature = 1, .top_k = 2, .top_p = 0.66f}, 500);
  EXPECT_EQ(counts[1], 500);
}

TEST(Sampler, MinPIsRelativeToTheBest) {
  const std::vector<float> logits = {0, std::log(4.0f), 0, std::log(2.0f)};
  const std::vector<int> counts = Histogram(logits, {.temperature = 1, .min_p = 0.3f}, 2000);
  EXPECT_EQ(counts[0] + counts[2], 0);
  EXPECT_GT(counts[1], 0);
  EXPECT_GT(counts[3], 0);
}

TEST(Sampler, TopPOverALargeVocabularyKeepsExactlyTheHead) {
  // Token i has weight 0.999^i, so the first n hold 1 - 0.999^n of all; 0.5 is crossed by the
  // 693rd.
  std::vector<float> logits(100000);
  for (size_t i = 0; i < logits.size(); ++i) {
    // Scattered, so that likelihood is not the order of ids.
    logits[i * 7919 % logits.size()] = static_cast<float>(static_cast<double>(i) * std::log(0.999));
  }
  DrawScratch scratch;
  const SamplingParams params = {.temperature = 1, .top_p = 0.5f};
  const SampleRow row = {.params = &params};
  ASSERT_GE(Sample(logits, row, &scratch), 0);
  EXPECT_EQ(scratch.candidates.size(), 693u);
}

TEST(Sampler, SeedStepAndChoiceEachChangeTheDraw) {
  const std::vector<float> logits(1000, 0.0f);
  const SamplingParams params = {.temperature = 1};
  const auto draw = [&](uint64_t seed, uint32_t step, uint32_t choice) {
    return SampleOnce(logits, params, {.seed = seed, .step = step, .choice = choice});
  };
  const int32_t base = draw(7, 3, 1);
  EXPECT_EQ(draw(7, 3, 1), base);
  EXPECT_NE(draw(8, 3, 1), base);
  EXPECT_NE(draw(7 + (uint64_t{1} << 32), 3, 1), base);
  EXPECT_NE(draw(7, 4, 1), base);
  EXPECT_NE(draw(7, 3, 2), base);
}

TEST(Sampler, DoesNotDependOnEarlierUsesOfTheScratch) {
  std::vector<float> wide(3000), narrow(50);
  for (size_t i = 0; i < wide.size(); ++i) wide[i] = std::sin(static_cast<float>(i));
  for (size_t i = 0; i < narrow.size(); ++i) narrow[i] = std::cos(static_cast<float>(i));
  const SamplingParams params = {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.01f};
  DrawScratch used;
  for (uint32_t step = 0; step < 50; ++step) {
    const SampleRow row = {.params = &params, .seed = 3, .step = step};
    for (const auto& logits : {wide, narrow}) {
      DrawScratch fresh;
      ASSERT_EQ(Sample(logits, row, &used), Sample(logits, row, &fresh));
    }
  }
}

TEST(Sampler, AllocatesNothingOnceWarm) {
  std::vector<float> logits(3000);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i));
  const SamplingParams params = {.temperature = 1, .top_p = 0.95f};
  DrawScratch scratch;
  Sample(logits, {.params = &params}, &scratch);
  const auto storage = [&] {
    return std::array<const void*, 4>{scratch.logits.data(), scratch.candidates.data(),
                                      scratch.weights.data(), scratch.ranked.data()};
  };
  const auto before = storage();
  for (uint32_t step = 1; step < 20; ++step) {
    Sample(logits, {.params = &params, .step = step}, &scratch);
  }
  EXPECT_EQ(storage(), before);
}

}  // namespace
}  // namespace prefixd
