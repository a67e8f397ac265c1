#include "cache/retention/profile.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/retention/policy.h"
#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

const char kConfs[] = PREFIXD_SOURCE_DIR "/tests/golden/retention/confs";

RetentionProfile Load(const char* name, int num_layers) {
  return RetentionProfile::Load(kConfs, name, num_layers).value();
}

TEST(Profile, ListsAndLoadsThePublishedFiles) {
  EXPECT_THAT(RetentionProfile::List(kConfs).value(),
              ElementsAre("llava-v1.5-13b", "llava-v1.5-7b"));
  const RetentionProfile profile = Load("llava-v1.5-7b", 32);
  EXPECT_EQ(profile.name(), "llava-v1.5-7b");
  EXPECT_EQ(profile.num_layers(), 32);
  const std::vector<double> ratios = profile.At(0.8).value();
  ASSERT_EQ(ratios.size(), 32u);
  EXPECT_EQ(ratios[0], 0.279753);
  EXPECT_EQ(ratios[21], 0.989849);
  EXPECT_EQ(ratios[31], 0.526588);
  EXPECT_EQ(Load("llava-v1.5-13b", 40).At(0.1).value()[1], 0.038164);
}

// Kept tokens of a prompt of 624 and their KV in bf16 (16 and 20 KiB a token and layer).
TEST(Profile, GivesTheKnownBudgetsOfAPromptOf624Tokens) {
  struct Row {
    const char* name;
    int num_layers;
    double budget;
    int32_t fewest, most;
    int64_t total;
    int kv_mib;
  };
  for (const Row& row : {Row{"llava-v1.5-7b", 32, 1 - 0.2, 389, 620, 15990, 250},
                         Row{"llava-v1.5-7b", 32, 1 - 0.4, 217, 577, 11996, 187},
                         Row{"llava-v1.5-7b", 32, 1 - 0.6, 86, 524, 7992, 125},
                         Row{"llava-v1.5-7b", 32, 1 - 0.8, 6, 449, 4004, 63},
                         Row{"llava-v1.5-13b", 40, 1 - 0.8, 4, 468, 5007, 98}}) {
    SCOPED_TRACE(testing::Message() << row.name << " " << row.budget);
    RetentionRecipe recipe = RecipeOf("prefixkv", row.budget);
    recipe.layer_forget_ratios = Load(row.name, row.num_layers).At(recipe.forget_ratio()).value();
    std::mt19937_64 random(5);
    const OwnedPrompt prompt = RandomPrompt(&random, row.num_layers, 624, Spread::kPeaked);
    int32_t fewest = 624, most = 0;
    int64_t total = 0;
    for (const auto& layer : recipe.policy->Select(recipe, prompt.view())) {
      const auto kept = static_cast<int32_t>(layer.kept.size());
      fewest = std::min(fewest, kept);
      most = std::max(most, kept);
      total += kept;
    }
    EXPECT_EQ(fewest, row.fewest);
    EXPECT_EQ(most, row.most);
    EXPECT_EQ(total, row.total);
    EXPECT_EQ(recipe.policy->MaxKept(recipe, row.num_layers, 624), row.total);
    const double kib = static_cast<double>(total) * (row.num_layers == 32 ? 16 : 20);
    EXPECT_EQ(std::lround(kib / 1024), row.kv_mib);
  }
}

TEST(Profile, MeansOfThePublishedFilesAreTheirRatios) {
  for (const auto& [name, num_layers] : {std::pair{"llava-v1.5-7b", 32}, {"llava-v1.5-13b", 40}}) {
    const RetentionProfile profile = Load(name, num_layers);
    for (int tenth = 1; tenth <= 9; ++tenth) {
      const std::vector<double> ratios = profile.At(tenth / 10.0).value();
      EXPECT_NEAR(std::accumulate(ratios.begin(), ratios.end(), 0.0) / num_layers, tenth / 10.0,
                  0.005);
    }
    const std::vector<double> highest = profile.At(0.9).value();
    EXPECT_NEAR(*std::max_element(highest.begin(), highest.end()), 0.9926, 0.0002);
  }
}

TEST(Profile, InterpolatesBetweenFilesAndTowardsNothing) {
  const RetentionProfile profile("p", 2, {{0.2, {0.125, 0.25}}, {0.6, {0.5, 0.75}}});
  EXPECT_THAT(profile.At(0).value(), ElementsAre(0, 0));
  EXPECT_THAT(profile.At(0.1).value(), ElementsAre(0.0625, 0.125));
  EXPECT_THAT(profile.At(0.2).value(), ElementsAre(0.125, 0.25));
  const std::vector<double> between = profile.At(0.3).value();
  EXPECT_DOUBLE_EQ(between[0], 0.21875);
  EXPECT_DOUBLE_EQ(between[1], 0.375);
  EXPECT_THAT(profile.At(0.6).value(), ElementsAre(0.5, 0.75));
  // Budgets are subtracted from 1: what differs in the last bits is the same file.
  EXPECT_THAT(profile.At(1 - 0.4).value(), ElementsAre(0.5, 0.75));
  EXPECT_THAT(profile.At(1 - 0.8).value(), ElementsAre(0.125, 0.25));
  EXPECT_THAT(profile.At(std::nextafter(0.6, 1.0)).value(), ElementsAre(0.5, 0.75));
}

TEST(Profile, RefusesRatiosBeyondItsHighestFile) {
  const RetentionProfile profile("p", 1, {{0.2, {0.2}}, {0.6, {0.6}}});
  const absl::Status status = profile.At(0.7).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.7"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("0.6"));
  for (const double bad : {-0.1, 1.0, 1.5, std::nan("")}) {
    EXPECT_EQ(profile.At(bad).status().code(), absl::StatusCode::kOutOfRange) << bad;
  }
}

}  // namespace
}  // namespace prefixd
