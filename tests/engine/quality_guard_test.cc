#include "engine/quality_guard.h"

#include <limits>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr GuardComparison kPerfect = {.tokens = 10, .agreements = 10, .logprob_drift = 0.0};
constexpr GuardComparison kWrong = {.tokens = 10, .agreements = 3, .logprob_drift = 20.0};

// The numbers of the requests, from 1 on, that are sampled.
std::vector<int> Sampled(double rate, int num_requests) {
  QualityGuard guard({.sample_rate = rate}, 0.2);
  std::vector<int> sampled;
  for (int request = 1; request <= num_requests; ++request) {
    if (guard.Sample()) sampled.push_back(request);
  }
  EXPECT_EQ(guard.sampled(), sampled.size());
  return sampled;
}

TEST(QualityGuardSamples, EveryRequestNoneAndEveryTenth) {
  EXPECT_THAT(Sampled(1.0, 5), ElementsAre(1, 2, 3, 4, 5));
  EXPECT_THAT(Sampled(0.0, 100000), IsEmpty());
  EXPECT_THAT(Sampled(0.1, 45), ElementsAre(10, 20, 30, 40));
  EXPECT_THAT(Sampled(0.3, 10), ElementsAre(4, 7, 10));
}

TEST(QualityGuardSamples, TheExactNumberOfAMillionRequests) {
  for (const int every : {3, 7, 10, 1000}) {
    SCOPED_TRACE(every);
    const std::vector<int> sampled = Sampled(1.0 / every, 1000000);
    ASSERT_EQ(sampled.size(), 1000000u / every);
    for (size_t i = 0; i < sampled.size(); ++i) {
      ASSERT_EQ(sampled[i], static_cast<int>(i + 1) * every);
    }
  }
}

TEST(QualityGuard, StartsWithTheBudgetItWasGivenAndNoOpinion) {
  const QualityGuard guard({}, 0.35);
  EXPECT_EQ(guard.budget(), 0.35);
  EXPECT_EQ(guard.agreement(), 1.0);
  EXPECT_EQ(guard.drift(), 0.0);
  EXPECT_EQ(guard.raises(), 0u);
}

TEST(QualityGuard, CountsTokensNotReplays) {
  QualityGuard guard({}, 0.2);
  guard.Add({.tokens = 1, .agreements = 0, .logprob_drift = 0.5});
  guard.Add({.tokens = 99, .agreements = 99, .logprob_drift = 4.5});
  EXPECT_DOUBLE_EQ(guard.agreement(), 0.99);
  EXPECT_DOUBLE_EQ(guard.drift(), 0.05);
  EXPECT_EQ(guard.replayed(), 2u);
}

TEST(QualityGuard, RaisesByOneStepOnceItHasSeenEightReplays) {
  QualityGuard guard({.budget_step = 0.25}, 0.5);
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(guard.Add(kWrong));
  EXPECT_EQ(guard.budget(), 0.5);
  EXPECT_TRUE(guard.Add(kWrong));
  EXPECT_EQ(guard.budget(), 0.75);
  EXPECT_EQ(guard.raises(), 1u);
}

TEST(QualityGuard, ForgetsWhatAnotherBudgetDid) {
  QualityGuard guard({.budget_step = 0.25}, 0.25);
  for (int i = 0; i < 8; ++i) guard.Add(kWrong);
  EXPECT_EQ(guard.agreement(), 1.0);
  EXPECT_EQ(guard.drift(), 0.0);
  EXPECT_DOUBLE_EQ(guard.judged_agreement(), 0.3);
  EXPECT_DOUBLE_EQ(guard.judged_drift(), 2.0);
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(guard.Add(kWrong));
  EXPECT_TRUE(guard.Add(kWrong));
  EXPECT_EQ(guard.budget(), 0.75);
  EXPECT_EQ(guard.raises(), 2u);
  EXPECT_EQ(guard.replayed(), 16u);
}

TEST(QualityGuard, OnlyTheLast32ReplaysCount) {
  QualityGuard guard({.min_agreement = 0.5}, 0.2);
  guard.Add({.tokens = 10, .agreements = 7});
  for (int i = 0; i < 31; ++i) guard.Add(kPerfect);
  EXPECT_DOUBLE_EQ(guard.agreement(), 317.0 / 320.0);
  guard.Add(kPerfect);
  EXPECT_EQ(guard.agreement(), 1.0);
  EXPECT_EQ(guard.replayed(), 33u);
}

TEST(QualityGuard, EitherBarIsEnoughAndBothAreInclusive) {
  const GuardOptions options = {.min_agreement = 0.75, .max_drift = 0.5};
  const auto raised = [&](int32_t agreements, double drift) {
    QualityGuard guard(options, 0.2);
    bool any = false;
    for (int i = 0; i < 8; ++i) any = guard.Add({8, agreements, drift}) || any;
    return any;
  };
  EXPECT_FALSE(raised(8, 0.0));
  EXPECT_FALSE(raised(6, 4.0)) << "at both bars";
  EXPECT_TRUE(raised(5, 0.0)) << "too few tokens agree";
  EXPECT_TRUE(raised(8, 4.125)) << "too much drift";
  EXPECT_TRUE(raised(8, std::numeric_limits<double>::quiet_NaN())) << "not a number";
  EXPECT_TRUE(raised(8, std::numeric_limits<double>::infinity()));
}

TEST(QualityGuard, StopsAtTheWholePromptExactly) {
  QualityGuard guard({.budget_step = 0.1}, 0.7);
  for (int i = 0; i < 80; ++i) {
    guard.Add(kWrong);
    ASSERT_LE(guard.budget(), 1.0);
  }
  EXPECT_EQ(guard.budget(), 1.0) << "0.7 + 3 * 0.1 is less in binary";
  EXPECT_EQ(guard.raises(), 3u);
  QualityGuard coarse({.budget_step = 0.9}, 0.2);
  for (int i = 0; i < 80; ++i) coarse.Add(kWrong);
  EXPECT_EQ(coarse.budget(), 1.0);
  EXPECT_EQ(coarse.raises(), 1u);
}

TEST(QualityGuard, NeverLowersTheBudget) {
  QualityGuard guard({}, 0.4);
  for (int i = 0; i < 8; ++i) guard.Add(kWrong);
  const double raised = guard.budget();
  EXPECT_GT(raised, 0.4);
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(guard.Add(kPerfect));
  EXPECT_EQ(guard.budget(), raised);
}

TEST(QualityGuard, FindsAWrongProfileWithinAHundredSampledRequests) {
  // Three tokens in ten agree at any budget under 0.6, all from there on.
  QualityGuard guard({.sample_rate = 0.05}, 0.2);
  while (guard.sampled() < 100) {
    if (!guard.Sample()) continue;
    guard.Add(guard.budget() < 0.6 ? kWrong : kPerfect);
    if (guard.sampled() == 8) {
      EXPECT_EQ(guard.raises(), 1u) << "the first alarm is early";
    }
  }
  EXPECT_NEAR(guard.budget(), 0.6, 1e-12);
  EXPECT_EQ(guard.raises(), 4u);
}

TEST(QualityGuard, AGoodProfileThatIsSometimesUnluckyIsLeftAlone) {
  // One replay in ten agrees in 0.3 of its tokens only: 0.93 of all.
  QualityGuard guard({.max_drift = 1e9}, 0.2);
  for (int i = 0; i < 1000; ++i) guard.Add(i % 10 == 9 ? kWrong : kPerfect);
  EXPECT_EQ(guard.raises(), 0u);
}

}  // namespace
}  // namespace prefixd
