// Local, H2O, Elastic and Random on recorded attention against tests/golden/make/retention.py.
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

// Runs the policy on every case of the goldens that has it; masks of one layer stand for all.
void ExpectGoldenSets(const char* policy, int min_cases) {
  int cases = 0;
  for (const char* name : kRecordedPrompts) {
    const auto golden = ReadRetentionGolden(std::string(name) + ".json");
    OwnedPrompt prompt = PromptOf(golden);
    for (const auto& c : golden["cases"]) {
      if (!c.contains(policy)) continue;
      const auto& expected = c[policy];
      if (expected.contains("seed")) prompt.seed = expected["seed"];
      const RetentionRecipe recipe = RecipeOf(policy, c["budget"], c["start_size"], c["protect"]);
      SCOPED_TRACE(testing::Message() << policy << " on " << name << " budget " << recipe.budget);
      const auto layers = recipe.policy->Select(recipe, prompt.view());
      ASSERT_EQ(layers.size(), static_cast<size_t>(prompt.num_layers));
      int64_t total = 0;
      for (size_t i = 0; i < layers.size(); ++i) {
        const auto& mask = expected["kept"][expected["kept"].size() == 1 ? 0 : i];
        EXPECT_EQ(layers[i].kept, PositionsOf(mask, prompt.num_tokens)) << "layer " << i;
        EXPECT_EQ(layers[i].forget_ratio, recipe.forget_ratio());
        if (expected.contains("merged_into")) {
          EXPECT_EQ(layers[i].merged_into, expected["merged_into"][i].get<std::vector<int32_t>>());
        }
        total += static_cast<int64_t>(layers[i].kept.size());
      }
      EXPECT_EQ(total, recipe.policy->MaxKept(recipe, prompt.num_layers, prompt.num_tokens));
      ++cases;
    }
  }
  EXPECT_GE(cases, min_cases);
}

TEST(BaselinesGolden, LocalKeepsTheWindow) { ExpectGoldenSets("local", 9 * 12); }
TEST(BaselinesGolden, H2oKeepsTheHighestOfAllLayers) { ExpectGoldenSets("h2o", 9 * 12); }
TEST(BaselinesGolden, ElasticKeepsTheHighestAndMergesTheRest) {
  ExpectGoldenSets("elastic", 9 * 20);
}
TEST(BaselinesGolden, RandomDrawsTheSameOnEveryMachine) { ExpectGoldenSets("random", 9 * 12); }

TEST(BaselinesGolden, DigestsAreThoseOfTheWrittenFormat) {
  const auto golden = ReadRetentionGolden("digests.json");
  ASSERT_EQ(golden.size(), 3u);
  for (const auto& c : golden) {
    RetentionRecipe recipe = RecipeOf(c["policy"], c["budget"], c["start_size"], c["protect"]);
    recipe.layer_forget_ratios = c["ratios"].get<std::vector<double>>();
    recipe.distance = c["distance"];
    recipe.reference_positions = c["reference_positions"];
    EXPECT_EQ(ToHex(RecipeDigest(recipe)), c["digest"]);
  }
}

}  // namespace
}  // namespace prefixd
