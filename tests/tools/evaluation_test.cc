#include "tools/evaluation.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/tools/fake_measurer.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;

// Two samples, with answers of one and three tokens. Under the policy "half" the second is kept by
// half in layer 0 and whole in layer 1.
Measured Answer(const MeasureTask& task) {
  const bool full = task.setting->full();
  Measured measured{.prompt_tokens = 8};
  if (task.kind == MeasureKind::kGreedy) {
    measured.token_ids = {1, 2};
    measured.text = task.sample == 0 ? "a b.</s>" : full ? " c d " : "c";
    return measured;
  }
  if (task.sample == 0) {
    measured.token_ids = {5};
    measured.logprobs = {full ? std::log(0.5) : std::log(0.25)};
    measured.most_likely = {5};
  } else {
    measured.token_ids = {6, 7, 8};
    measured.logprobs = {std::log(0.5), full ? std::log(0.5) : std::log(0.125), 0.0};
    measured.most_likely = {6, full ? 9 : 7, 8};
  }
  if (!full) {
    measured.selected_from = 8;
    measured.kept_tokens = task.sample == 0 ? std::vector<int32_t>{2, 6} : std::vector{4, 8};
    measured.score_mass = task.sample == 0 ? 0.5 : 0.75;
  }
  return measured;
}

TEST(Evaluate, GivesTheNumbersOfItsDefinitions) {
  testing::FakeMeasurer measurer(Answer);
  const std::vector<RetentionSetting> settings = {{.policy = "half", .budget = 0.5}};
  std::vector<std::pair<size_t, size_t>> progress;
  const auto result = Evaluate(2, settings, &measurer, [&](size_t done, size_t total) {
    progress.emplace_back(done, total);
  });
  ASSERT_TRUE(result.ok()) << result.status();
  // Four tokens together: three halves of a bit each in the full cache.
  EXPECT_NEAR(result->full.perplexity, std::exp2(3.0 / 4), 1e-12);
  EXPECT_EQ(result->full.rouge_l, 2 * (1.0 / (2 + 1e-8)));
  EXPECT_EQ(result->full.agreement, 1.0);
  EXPECT_EQ(result->full.kept_share, 1.0);
  EXPECT_EQ(result->full.answer_tokens, 4);
  EXPECT_EQ(result->full.generated_tokens, 4);
  EXPECT_THAT(result->full.kept_by_layer, ElementsAre());

  ASSERT_EQ(result->rows.size(), 1u);
  const EvaluationRow& row = result->rows[0];
  EXPECT_EQ(row.setting.policy, "half");
  EXPECT_NEAR(row.perplexity, std::exp2(6.0 / 4), 1e-12) << "by tokens, not by samples";
  EXPECT_EQ(row.agreement, 0.75);
  // The second: "c" of "c d", without the spaces around the text.
  EXPECT_NEAR(row.rouge_l, (1.0 + 2.0 / 3) / 2, 1e-7);
  EXPECT_EQ(row.kept_share, (0.5 + 0.75) / 2);
  EXPECT_THAT(row.kept_by_layer, ElementsAre(0.375, 0.875));
  EXPECT_EQ(row.score_mass, 0.625);
  ASSERT_EQ(progress.size(), 9u);
  EXPECT_EQ(progress.front(), std::pair(size_t{0}, size_t{8}));
  EXPECT_EQ(progress.back(), std::pair(size_t{8}, size_t{8}));
}

// Numbers whose sums depend on their order.
Measured Uneven(const MeasureTask& task) {
  Measured measured{.text = "x"};
  const double number = 1.0 / static_cast<double>(3 + task.sample * 7);
  measured.logprobs = {-number};
  measured.token_ids = measured.most_likely = {1};
  measured.selected_from = 1000;
  measured.kept_tokens = {static_cast<int32_t>(1 + task.sample)};
  measured.score_mass = number;
  return measured;
}

TEST(Evaluate, DoesNotDependOnTheOrderOfAnswers) {
  const std::vector<RetentionSetting> settings = {{.policy = "a", .budget = 0.5},
                                                  {.policy = "b", .budget = 0.1}};
  const auto run = [&](uint32_t seed) {
    testing::FakeMeasurer measurer(Uneven, seed);
    return Evaluate(50, settings, &measurer, [](size_t, size_t) {}).value();
  };
  const Evaluation first = run(1);
  for (uint32_t seed = 2; seed < 6; ++seed) {
    const Evaluation other = run(seed);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(first.rows[i].perplexity, other.rows[i].perplexity);
      EXPECT_EQ(first.rows[i].kept_share, other.rows[i].kept_share);
      EXPECT_EQ(first.rows[i].score_mass, other.rows[i].score_mass);
    }
  }
}

TEST(Evaluate, ASampleOfWhichNothingWasDroppedIsKeptWhole) {
  testing::FakeMeasurer measurer([](const MeasureTask& task) {
    Measured measured{.logprobs = {-1.0}, .most_likely = {1}, .text = "x"};
    if (task.sample == 0) {
      measured.selected_from = 4;
      measured.kept_tokens = {1, 3};
    }
    return measured;
  });
  const std::vector<RetentionSetting> settings = {{.policy = "a", .budget = 0.5}};
  const Evaluation result = Evaluate(2, settings, &measurer, [](size_t, size_t) {}).value();
  EXPECT_EQ(result.rows[0].kept_share, 0.75);
  EXPECT_THAT(result.rows[0].kept_by_layer, ElementsAre(0.625, 0.875));
}

TEST(Evaluate, EndsWithTheFirstError) {
  testing::FakeMeasurer measurer(Answer);
  measurer.FailAfter(3);
  EXPECT_TRUE(absl::IsUnavailable(Evaluate(2, {}, &measurer, [](size_t, size_t) {}).status()));
}

TEST(SettingName, SaysPolicyProfileAndBudget) {
  EXPECT_EQ(SettingName({}), "the full cache");
  EXPECT_EQ(SettingName({.policy = "prefixkv", .profile = "cats", .budget = 0.2}),
            "prefixkv@cats at 20 %");
}

}  // namespace
}  // namespace prefixd
