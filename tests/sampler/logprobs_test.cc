#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "tests/sampler/draw_testing.h"

namespace prefixd {
namespace {

// Probabilities 1/8, 1/2, 1/8, 1/4.
const std::vector<float>& Eighths() {
  static const std::vector<float> logits = {0.0f, std::log(4.0f), 0.0f, std::log(2.0f)};
  return logits;
}

TEST(Logprobs, AreNaturalLogarithmsOfTheRawLogits) {
  const LogprobEntry entry = Logprobs(Eighths(), 3, 0);
  EXPECT_EQ(entry.sampled.token_id, 3);
  EXPECT_NEAR(entry.sampled.logprob, std::log(0.25), 1e-6);
  EXPECT_EQ(entry.sampled.rank, 2);
  EXPECT_TRUE(entry.top.empty());
}

TEST(Logprobs, ListTheBestFirstAndTiesByLowestId) {
  const LogprobEntry entry = Logprobs(Eighths(), 2, 3);
  EXPECT_EQ(entry.sampled.rank, 4) << "the equal token 0 comes first";
  ASSERT_EQ(entry.top.size(), 3u);
  EXPECT_EQ(entry.top[0].token_id, 1);
  EXPECT_EQ(entry.top[1].token_id, 3);
  EXPECT_EQ(entry.top[2].token_id, 0);
  EXPECT_NEAR(entry.top[0].logprob, std::log(0.5), 1e-6);
  EXPECT_NEAR(entry.top[2].logprob, std::log(0.125), 1e-6);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(entry.top[i].rank, i + 1);
}

TEST(Logprobs, GiveTheWholeVocabularyWhenItIsSmall) {
  EXPECT_EQ(Logprobs(Eighths(), 0, 20).top.size(), 4u);
}

TEST(Logprobs, DoNotOverflowOrVanish) {
  const std::vector<float> logits = {1e4f, 1e4f - 1, -1e30f,
                                     -std::numeric_limits<float>::infinity()};
  const LogprobEntry entry = Logprobs(logits, 1, 4);
  EXPECT_NEAR(entry.sampled.logprob, -1 - std::log1p(std::exp(-1.0)), 1e-5);
  EXPECT_EQ(entry.top[2].logprob, -1e30f);
  EXPECT_EQ(entry.top[3].logprob, -std::numeric_limits<float>::infinity());
}

TEST(Logprobs, SumToOneOverALargeVocabulary) {
  std::vector<float> logits(5000);
  for (size_t i = 0; i < logits.size(); ++i) {
    logits[i] = static_cast<float>(i * 7919 % 10007) * 1e-3f;
  }
  double sum = 0;
  for (const TokenLogprob& token : Logprobs(logits, 0, 5000).top) {
    sum += std::exp(static_cast<double>(token.logprob));
  }
  EXPECT_NEAR(sum, 1.0, 1e-5);
}

}  // namespace
}  // namespace prefixd
