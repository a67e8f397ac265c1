#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/backend/host_draw.h"
#include "tests/cuda_emulation/draw_testing.h"
#include "tests/cuda_emulation/emulator/testing.h"

namespace prefixd::cuda {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<DrawCase> RandomCases(int count, int32_t vocabulary, Element type, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<DrawCase> cases;
  for (int i = 0; i < count; ++i) cases.push_back(RandomCase(vocabulary, type, &random));
  return cases;
}

int32_t DrawOne(const std::vector<float>& logits, const DrawParams& params, DrawCase c = {}) {
  c.logits = logits;
  c.params.params = params;
  return DrawOnDevice({c}, Element::kF32)[0].token;
}

std::vector<int32_t> Tokens(const std::vector<DrawResult>& results) {
  std::vector<int32_t> tokens;
  for (const DrawResult& result : results) tokens.push_back(result.token);
  return tokens;
}

class RandomRows : public ::testing::TestWithParam<int32_t> {};

TEST_P(RandomRows, GiveTheTokensAndLogprobsOfTheHost) {
  const int32_t vocabulary = GetParam();
  const int count = vocabulary < 200 ? 300 : vocabulary < 5000 ? 200 : vocabulary < 50000 ? 40 : 2;
  int64_t padding = 0;
  for (const Element type : {Element::kF32, Element::kF16, Element::kBF16}) {
    const std::vector<DrawCase> cases =
        RandomCases(count, vocabulary, type, 1000 * vocabulary + static_cast<int>(type));
    EXPECT_EQ(Differences(cases, DrawOnDevice(cases, type, padding)), "");
    padding += 3;
  }
}

INSTANTIATE_TEST_SUITE_P(Vocabularies, RandomRows,
                         ::testing::Values(1, 2, 31, 32, 33, 100, 257, 1000, 1029, 32064, 300001));

TEST(DrawTokens, AreTheSameInEveryOrderOfThreads) {
  for (const int32_t vocabulary : {60, 1100}) {
    const std::vector<DrawCase> cases = RandomCases(20, vocabulary, Element::kF32, vocabulary);
    emu::ForAllOrders(
        20, [&] { EXPECT_EQ(Differences(cases, DrawOnDevice(cases, Element::kF32)), ""); });
  }
}

TEST(DrawTokens, DoNotDependOnTheBatch) {
  const std::vector<DrawCase> cases = RandomCases(40, 300, Element::kBF16, 5);
  const std::vector<DrawResult> together = DrawOnDevice(cases, Element::kBF16);
  for (size_t i = 0; i < cases.size(); ++i) {
    const DrawResult alone = DrawOnDevice({cases[i]}, Element::kBF16, 5)[0];
    EXPECT_EQ(std::memcmp(&alone, &together[i], sizeof alone), 0) << "case " << i;
  }
}

TEST(DrawTokens, ComeInProportion) {
  // Probabilities 1/8, 1/2, 1/8, 1/4 and nothing.
  const std::vector<float> logits = {0, std::log(4.0f), 0, std::log(2.0f), -kInfinity};
  constexpr int kDraws = 20000;
  std::vector<DrawCase> cases(kDraws);
  for (int i = 0; i < kDraws; ++i) {
    cases[i].logits = logits;
    cases[i].params.params = {.temperature = 1, .seed = static_cast<uint64_t>(i)};
  }
  std::vector<int> counts(logits.size());
  for (const int32_t token : Tokens(DrawOnDevice(cases, Element::kF32))) {
    ASSERT_GE(token, 0);
    ++counts[token];
  }
  const std::vector<double> expected = {2500, 10000, 2500, 5000};
  double chi_square = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    chi_square += (counts[i] - expected[i]) * (counts[i] - expected[i]) / expected[i];
  }
  EXPECT_LT(chi_square, 16.27) << "3 degrees of freedom, 0.1 %";
  EXPECT_EQ(counts[4], 0);
}

TEST(DrawTokens, OfChoicesDiffer) {
  std::vector<DrawCase> cases(64);
  for (uint32_t i = 0; i < cases.size(); ++i) {
    cases[i].logits.assign(1000, 0.0f);
    cases[i].params.params = {.temperature = 1, .seed = 7, .step = 3, .choice = i};
  }
  const std::vector<DrawResult> results = DrawOnDevice(cases, Element::kF32);
  EXPECT_EQ(Differences(cases, results), "");
  EXPECT_NE(results[0].token, results[1].token);
}

TEST(DrawTokens, GreedyTakesTheLowestOfTheLargest) {
  EXPECT_EQ(DrawOne({1, 3, 2, 3}, {}), 1);
  EXPECT_EQ(DrawOne({1, 3, 2, 3}, {.temperature = 9e-7f}), 1);
  EXPECT_EQ(DrawOne({-5, -0.0f, 0.0f}, {}), 1) << "zeros are equal";
  EXPECT_EQ(DrawOne({1, kInfinity}, {}), 1);
}

TEST(DrawTokens, KeepTiesAtTheLastPlaceOfTopK) {
  std::vector<DrawCase> cases(400);
  for (uint32_t i = 0; i < cases.size(); ++i) {
    cases[i].logits = {1, 2, 3, 2, 0};
    cases[i].params.params = {.temperature = 1, .top_k = 2, .step = i};
  }
  std::vector<int> counts(5);
  for (const int32_t token : Tokens(DrawOnDevice(cases, Element::kF32))) ++counts.at(token);
  EXPECT_EQ(counts[0], 0);
  EXPECT_GT(counts[1], 0);
  EXPECT_GT(counts[3], 0) << "as large as the second";
  EXPECT_EQ(counts[4], 0);
}

TEST(DrawTokens, OfTopPAreTheLowestIdsAmongEquals) {
  // Eight equal tokens: those before the fifth hold a half.
  std::vector<DrawCase> cases(400);
  for (uint32_t i = 0; i < cases.size(); ++i) {
    cases[i].logits.assign(8, 1.25f);
    cases[i].params.params = {.temperature = 1, .top_p = 0.5f, .step = i};
  }
  std::vector<int> counts(8);
  for (const int32_t token : Tokens(DrawOnDevice(cases, Element::kF32))) ++counts.at(token);
  for (int id = 0; id < 8; ++id) EXPECT_EQ(counts[id] > 0, id < 4) << id;
}

TEST(DrawTokens, AreNeverSuppressedOnes) {
  DrawCase c;
  c.suppressed = {1, 3, 900};
  EXPECT_EQ(DrawOne({1, 9, 2, 9}, {}, c), 2);
  c.bias = {{1, 100.0f}};
  EXPECT_EQ(DrawOne({1, 9, 2, 9}, {.temperature = 0.01f}, c), 2);
}

TEST(DrawTokens, ReportRowsThatFailed) {
  DrawCase all;
  all.suppressed = {0, 1};
  for (const float temperature : {0.0f, 1.0f}) {
    EXPECT_EQ(DrawOne({1, kNan, 2}, {.temperature = temperature}), -1);
    EXPECT_EQ(DrawOne({1, -kNan, 2}, {.temperature = temperature}), -1);
    EXPECT_EQ(DrawOne({-kInfinity, -kInfinity}, {.temperature = temperature}), -1);
    EXPECT_EQ(DrawOne({1, 2}, {.temperature = temperature}, all), -1);
    EXPECT_EQ(DrawOne({kNan, kNan}, {.temperature = temperature}, all), -1);
  }
  EXPECT_EQ(DrawOne({1, kInfinity}, {.temperature = 1.0f}), -1);
}

TEST(DrawTokens, ForcedTokensAreTakenWhateverTheLogitsSay) {
  DrawCase c;
  c.params.forced = 2;
  c.suppressed = {2};
  EXPECT_EQ(DrawOne({5, kNan, -kInfinity}, {.temperature = 1}, c), 2);
}

TEST(DrawTokens, RefusesWhatItCannotDo) {
  DrawLists lists;
  DeviceMatrix logits{nullptr, Element::kF32, 1, 0, 0};
  EXPECT_EQ(LaunchDrawTokens(logits, nullptr, 1, lists, nullptr, nullptr, nullptr, nullptr),
            cudaErrorInvalidValue);
  logits.cols = logits.stride = kMaxVocabulary + 1;
  EXPECT_EQ(LaunchDrawTokens(logits, nullptr, 1, lists, nullptr, nullptr, nullptr, nullptr),
            cudaErrorInvalidValue);
  logits.cols = 4;
  logits.stride = 3;
  EXPECT_EQ(LaunchDrawTokens(logits, nullptr, 1, lists, nullptr, nullptr, nullptr, nullptr),
            cudaErrorInvalidValue);
  logits.stride = 4;
  EXPECT_EQ(LaunchDrawTokens(logits, nullptr, 0, lists, nullptr, nullptr, nullptr, nullptr),
            cudaSuccess);
}

}  // namespace
}  // namespace prefixd::cuda
