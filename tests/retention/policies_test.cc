#include <cmath>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Policies, AreListedInTheOrderOfTheDocs) {
  std::vector<std::string> names;
  for (const RetentionPolicy* policy : RetentionPolicies()) {
    names.emplace_back(policy->name());
    EXPECT_EQ(FindRetentionPolicy(policy->name()), policy);
    EXPECT_FALSE(policy->summary().empty());
    EXPECT_EQ(policy->version(), 1);
  }
  EXPECT_THAT(
      names, ElementsAre("full", "prefixkv", "prefixkv-debiased", "prefixkv-window", "local", "h2o",
                         "elastic", "snapkv", "pyramidkv", "streaming-llm", "random"));
  EXPECT_EQ(FindRetentionPolicy("knorm"), nullptr);
  EXPECT_EQ(FindRetentionPolicy(""), nullptr);
  EXPECT_EQ(FindRetentionPolicy("PrefixKV"), nullptr);
}

TEST(Policies, SayWhatTheyNeed) {
  const auto needs = [](const char* name) { return FindRetentionPolicy(name)->needs(); };
  EXPECT_FALSE(needs("full").any());
  EXPECT_FALSE(needs("local").any());
  EXPECT_FALSE(needs("streaming-llm").any());
  EXPECT_FALSE(needs("random").any());
  EXPECT_TRUE(needs("prefixkv").prompt);
  EXPECT_TRUE(needs("h2o").prompt && needs("h2o").decode);
  EXPECT_TRUE(needs("elastic").prompt && !needs("elastic").decode);
  EXPECT_EQ(needs("snapkv").window, 64);
  EXPECT_EQ(needs("pyramidkv").window, 64);
  EXPECT_FALSE(needs("snapkv").prompt);
  EXPECT_EQ(FindRetentionPolicy("h2o")->victim_rule(), VictimRule::kLowestScore);
  EXPECT_EQ(FindRetentionPolicy("local")->victim_rule(), VictimRule::kOldest);
  EXPECT_EQ(FindRetentionPolicy("snapkv")->victim_rule(), VictimRule::kNone);
  EXPECT_TRUE(FindRetentionPolicy("elastic")->merges());
  EXPECT_FALSE(FindRetentionPolicy("prefixkv")->merges());
}

TEST(Policies, RoundHalvesToEven) {
  EXPECT_EQ(RoundHalfEven(0.5), 0);
  EXPECT_EQ(RoundHalfEven(1.5), 2);
  EXPECT_EQ(RoundHalfEven(2.5), 2);
  EXPECT_EQ(RoundHalfEven(2.4999999), 2);
  EXPECT_EQ(RoundHalfEven(2.5000001), 3);
  EXPECT_EQ(RoundHalfEven(-0.5), 0);
  EXPECT_EQ(RoundHalfEven(-1.5), -2);
  EXPECT_EQ(RoundHalfEven(0.49999999999999994), 0);
  EXPECT_EQ(RoundHalfEven(4503599627370497.0), 4503599627370497);
}

TEST(Policies, KeepHighestDropsTheLowerPositionOfEquals) {
  const std::vector<float> scores = {5, 1, 3, 1, 3, 1, 0, 9};
  EXPECT_THAT(KeepHighest(scores, 0, 8, 0), ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(KeepHighest(scores, 0, 8, 1), ElementsAre(0, 1, 2, 3, 4, 5, 7));
  EXPECT_THAT(KeepHighest(scores, 0, 8, 2), ElementsAre(0, 2, 3, 4, 5, 7));
  EXPECT_THAT(KeepHighest(scores, 0, 8, 4), ElementsAre(0, 2, 4, 7));
  EXPECT_THAT(KeepHighest(scores, 0, 8, 5), ElementsAre(0, 4, 7));
  EXPECT_THAT(KeepHighest(scores, 1, 6, 3), ElementsAre(2, 4));
  EXPECT_THAT(KeepHighest(scores, 1, 6, 5), IsEmpty());
  EXPECT_THAT(KeepHighest(scores, 3, 3, 0), IsEmpty());
  EXPECT_THAT(KeepHighest({-0.0f, 0.0f, -0.0f}, 0, 3, 2), ElementsAre(2));
}

TEST(Policies, ScoreMassIsTheShareOfTheKept) {
  EXPECT_EQ(ScoreMass({1, 2, 5}, {0, 2}), 0.75);
  EXPECT_EQ(ScoreMass({1, 2, 5}, {0, 1, 2}), 1);
  EXPECT_EQ(ScoreMass({0, 0}, {0}), 1);
}

TEST(Policies, DropsDueTruncates) {
  EXPECT_EQ(DropsDue(10, 10, 0.0), 0);
  EXPECT_EQ(DropsDue(100, 100, 0.25), 25);
  EXPECT_EQ(DropsDue(10, 13, 0.3), 0);  // 0.9.
  EXPECT_EQ(DropsDue(10, 12, 0.25), 1);
  EXPECT_EQ(DropsDue(3, 10, 0.5), 0);
}

// Rule 15: max(start_size, m - 25 if that is at least 1, else m / 2).
TEST(Policies, DropsBeginTwentyFiveBeforeTheEnd) {
  RetentionRecipe recipe = RecipeOf("prefixkv", 0.5);
  const auto first = [&](int32_t kept) { return recipe.policy->FirstDroppable(recipe, kept); };
  EXPECT_EQ(first(100), 75);
  EXPECT_EQ(first(26), 1);
  EXPECT_EQ(first(25), 12);
  EXPECT_EQ(first(3), 1);
  EXPECT_EQ(first(1), 1);  // Beyond its end: drops begin when it has grown.
  recipe.start_size = 4;
  EXPECT_EQ(first(27), 4);
  EXPECT_EQ(first(6), 4);
  recipe.distance = 10;
  EXPECT_EQ(first(100), 10);
  EXPECT_EQ(first(5), 10);
  recipe.distance = 2;
  EXPECT_EQ(first(100), 4);
  recipe.distance = 0;
  EXPECT_EQ(first(100), 100);
  for (const char* name : {"local", "h2o"}) {
    recipe.distance = -25;
    recipe.policy = FindRetentionPolicy(name);
    EXPECT_EQ(first(100), 4) << name;
  }
}

OwnedPrompt OneLayer(std::vector<float> scores) {
  return {.num_layers = 1,
          .num_tokens = static_cast<int32_t>(scores.size()),
          .scores = std::move(scores)};
}

std::vector<int32_t> KeptOf(const RetentionRecipe& recipe, const OwnedPrompt& prompt) {
  return recipe.policy->Select(recipe, prompt.view()).at(0).kept;
}

TEST(Policies, PrefixKvKeepsTheFirstAndTheLastWhateverTheirScores) {
  const OwnedPrompt prompt = OneLayer({0, 4, 7, 1, 3, 9, 2, 0});
  EXPECT_THAT(KeptOf(RecipeOf("prefixkv", 0.5), prompt), ElementsAre(0, 2, 5, 7));
  EXPECT_THAT(KeptOf(RecipeOf("prefixkv", 0.5, 2), prompt), ElementsAre(0, 1, 5, 7));
  EXPECT_THAT(KeptOf(RecipeOf("prefixkv", 0.5, 1, 2), prompt), ElementsAre(0, 5, 6, 7));
  EXPECT_THAT(KeptOf(RecipeOf("prefixkv", 0.5, 0, 1), prompt), ElementsAre(1, 2, 5, 7));
}

TEST(Policies, DebiasedWeighsEarlyTokensLess) {
  const OwnedPrompt prompt = OneLayer({0, 6, 5, 4, 3, 2, 1, 0});  // By 7, 6, 5, 4, 3 and 2 queries.
  EXPECT_THAT(KeptOf(RecipeOf("prefixkv", 0.5), prompt), ElementsAre(0, 1, 2, 7));
  // 0.857, 0.833, 0.8, 0.75, 0.667, 0.5: the order is the same; 4, 5, 6 and 7 times the last is
  // not.
  const OwnedPrompt late = OneLayer({0, 6, 5, 4, 3, 2.7f, 1.9f, 0});
  EXPECT_THAT(KeptOf(RecipeOf("prefixkv-debiased", 0.5), late), ElementsAre(0, 5, 6, 7));
}

TEST(Policies, ElasticMergesIntoTheNearestTheLowerOfTwo) {
  const RetentionRecipe recipe = RecipeOf("elastic", 0.5);
  const auto layer = recipe.policy->Select(recipe, OneLayer({0, 1, 1, 9, 1, 8, 1, 0}).view()).at(0);
  EXPECT_THAT(layer.kept, ElementsAre(0, 3, 5, 7));
  EXPECT_THAT(layer.merged_into, ElementsAre(0, 0, 3, 3, 3, 5, 5, 7));
}

TEST(Policies, H2oDropsAFirstTokenThatNobodyLooksAt) {
  OwnedPrompt prompt = {
      .num_layers = 2, .num_tokens = 6, .scores = {0, 4, 0, 2, 9, 0, 0, 0, 6, 2, 9, 0}};
  const RetentionRecipe recipe = RecipeOf("h2o", 0.5);
  const auto layers = recipe.policy->Select(recipe, prompt.view());
  EXPECT_THAT(layers[0].kept, ElementsAre(2, 4, 5));  // Means 0 2 3 2 9.
  EXPECT_EQ(layers[1].kept, layers[0].kept);
}

TEST(Policies, AProfileThatForgetsAllLeavesTheProtected) {
  RetentionRecipe recipe = RecipeOf("prefixkv", 0.1, 4);
  recipe.layer_forget_ratios = {0.9925};
  EXPECT_THAT(KeptOf(recipe, OneLayer({1, 1, 1, 1, 1, 1})), ElementsAre(0, 1, 2, 3, 5));
  EXPECT_EQ(recipe.policy->MaxKept(recipe, 1, 6), 5);
  EXPECT_THAT(KeptOf(recipe, OneLayer({1, 1, 1})), ElementsAre(0, 1, 2));
}

TEST(Policies, EveryFieldThatDecidesChangesTheDigest) {
  const RetentionRecipe base = RecipeOf("prefixkv", 0.5);
  std::vector<RetentionRecipe> recipes(9, base);
  recipes[1].policy = FindRetentionPolicy("prefixkv-window");
  recipes[2].budget = std::nextafter(0.5, 1.0);
  recipes[3].layer_forget_ratios = {0.5};
  recipes[4].layer_forget_ratios = {0.5, 0.5};
  recipes[5].start_size = 2;
  recipes[6].protect = 2;
  recipes[7].distance = 25;
  recipes[8].reference_positions = true;
  std::set<std::string> digests;
  for (const RetentionRecipe& recipe : recipes) digests.insert(ToHex(RecipeDigest(recipe)));
  EXPECT_EQ(digests.size(), recipes.size());
  recipes[3].budget = 0.25;  // The ratios decide.
  EXPECT_EQ(digests.count(ToHex(RecipeDigest(recipes[3]))), 1u);
}

}  // namespace
}  // namespace prefixd
