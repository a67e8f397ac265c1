#include "engine/classify/ranking.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(PathSums, AddFromTheRootDown) {
  const TokenTrie trie =
      TokenTrie::Build(std::vector<std::vector<int32_t>>{{1, 2}, {1}, {3, 4}, {1, 2}});
  // Nodes: root, [1], [1 2], [3], [3 4]; the last was left out.
  const std::vector<float> logprobs = {NAN, -0.5f, -0.25f, -2.0f, NAN};
  const std::vector<double> sums = PathSums(trie, logprobs);
  ASSERT_EQ(sums.size(), 4u);
  EXPECT_EQ(sums[0], -0.75);
  EXPECT_EQ(sums[1], -0.5);
  EXPECT_TRUE(std::isnan(sums[2]));
  EXPECT_EQ(sums[3], -0.75);
}

TEST(PathSums, AreOfDoublePrecision) {
  // 200 times the float nearest to 0.1; floats would be off in the sixth digit.
  const TokenTrie trie =
      TokenTrie::Build(std::vector<std::vector<int32_t>>{std::vector<int32_t>(200, 1)});
  const std::vector<float> logprobs(201, -0.1f);
  EXPECT_NEAR(PathSums(trie, logprobs)[0], -200 * 0.100000001490116119384765625, 1e-12);
}

TEST(Scores, MeanDividesByTokens) {
  const TopSearch scale = ScaleOf(Normalization::kMean, {2, 4}, {7, 8}, {});
  EXPECT_THAT(ScoresOf({-3.0, -10.0}, scale), ElementsAre(-1.5, -2.5));
}

TEST(Scores, SumStaysAsItIs) {
  const TopSearch scale = ScaleOf(Normalization::kSum, {2, 4}, {7, 8}, {-1.0, -2.0});
  EXPECT_THAT(ScoresOf({-3.0, -10.0}, scale), ElementsAre(-3.0, -10.0));
}

TEST(Scores, CharsDividesByBytes) {
  const TopSearch scale = ScaleOf(Normalization::kChars, {2, 4}, {6, 8}, {});
  EXPECT_THAT(ScoresOf({-3.0, -10.0}, scale), ElementsAre(-0.5, -1.25));
}

TEST(Scores, PmiTakesTheNullContextAway) {
  const TopSearch scale = ScaleOf(Normalization::kPmi, {2, 4}, {6, 8}, {-5.0, -1.0});
  EXPECT_THAT(ScoresOf({-3.0, -10.0}, scale), ElementsAre(2.0, -9.0));
}

TEST(Scores, WhatWasLeftOutHasNone) {
  EXPECT_TRUE(std::isnan(ScoresOf({kNan}, ScaleOf(Normalization::kMean, {2}, {2}, {}))[0]));
}

TEST(ClassProbabilities, AreASoftmax) {
  const std::vector<double> p = ClassProbabilities({std::log(1.0), std::log(3.0)}, 1.0);
  EXPECT_THAT(p, ElementsAre(DoubleEq(0.25), DoubleEq(0.75)));
  // At temperature 1/2 odds are squared.
  const std::vector<double> sharp = ClassProbabilities({std::log(1.0), std::log(3.0)}, 0.5);
  EXPECT_NEAR(sharp[0], 0.1, 1e-15);
}

TEST(ClassProbabilities, NothingOverflows) {
  const std::vector<double> p = ClassProbabilities({-1e6, -1e6, -2e6}, 0.001);
  EXPECT_THAT(p, ElementsAre(0.5, 0.5, 0.0));
  EXPECT_THAT(ClassProbabilities({800.0}, 0.01), ElementsAre(1.0));
}

TEST(ClassProbabilities, AddUpToOne) {
  std::mt19937 rng(3);
  std::uniform_real_distribution<double> score(-30, 0);
  for (const double temperature : {0.01, 1.0, 100.0}) {
    std::vector<double> scores(10000);
    for (double& s : scores) s = score(rng);
    long double sum = 0;
    for (const double p : ClassProbabilities(scores, temperature)) sum += p;
    EXPECT_NEAR(static_cast<double>(sum), 1.0, 1e-13) << temperature;
  }
}

TEST(BestOf, TiesGoToTheLowerIndex) {
  EXPECT_THAT(BestOf({-1.0, -0.5, -1.0, -0.5}, 3), ElementsAre(1, 3, 0));
}

TEST(BestOf, WhatWasLeftOutIsNeverAmongThem) {
  EXPECT_THAT(BestOf({kNan, -3.0, kNan, -2.0}, 4), ElementsAre(3, 1));
  EXPECT_THAT(BestOf({kNan}, 1), ElementsAre());
}

TEST(BestOf, TheImpossibleComesLast) {
  EXPECT_THAT(BestOf({-kInfinity, -3.0, -kInfinity}, 3), ElementsAre(1, 0, 2));
}

TEST(BestOf, AllIfThereAreFewer) {
  EXPECT_THAT(BestOf({-2.0, -1.0}, 5), ElementsAre(1, 0));
  EXPECT_THAT(BestOf({-2.0, -1.0}, 0), ElementsAre());
}

}  // namespace
}  // namespace prefixd
