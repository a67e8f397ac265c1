// What holds for every policy on any scores.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

constexpr double kBudgets[] = {1.0, 0.99, 0.9, 0.75, 0.5, 0.33, 0.2, 0.1, 0.01, 0.001};

// Policies whose files say that the first tokens are not protected.
bool KeepsFirst(const RetentionPolicy& policy) {
  return policy.name() != "h2o" && policy.name() != "snapkv" && policy.name() != "pyramidkv";
}

void CheckLayer(const RetentionRecipe& recipe, int32_t num_tokens, const LayerSelection& layer) {
  const std::vector<int32_t>& kept = layer.kept;
  ASSERT_FALSE(kept.empty());
  ASSERT_TRUE(std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end())
      << "not ascending";
  EXPECT_GE(kept.front(), 0);
  EXPECT_LT(kept.back(), num_tokens);
  EXPECT_GE(layer.forget_ratio, 0);
  EXPECT_LT(layer.forget_ratio, 1);
  const auto size = static_cast<int32_t>(kept.size());
  EXPECT_GE(size, std::min(num_tokens, recipe.num_protected()));
  for (int32_t k = 1; k <= std::min(recipe.protect, num_tokens); ++k) {
    EXPECT_EQ(kept[static_cast<size_t>(size - k)], num_tokens - k);
  }
  if (KeepsFirst(*recipe.policy)) {
    for (int32_t k = 0; k < std::min(recipe.start_size, num_tokens); ++k) {
      EXPECT_EQ(kept[static_cast<size_t>(k)], k);
    }
  }
  EXPECT_GE(recipe.policy->FirstDroppable(recipe, size), recipe.start_size);
  if (layer.merged_into.empty()) return;
  EXPECT_TRUE(recipe.policy->merges());
  ASSERT_EQ(layer.merged_into.size(), static_cast<size_t>(num_tokens));
  for (int32_t k = 0; k < num_tokens; ++k) {
    const int32_t into = layer.merged_into[static_cast<size_t>(k)];
    const bool is_kept = std::binary_search(kept.begin(), kept.end(), k);
    EXPECT_TRUE(std::binary_search(kept.begin(), kept.end(), into));
    EXPECT_TRUE(!is_kept || into == k);
  }
}

TEST(PolicyProperties, HoldOnRandomScores) {
  std::mt19937_64 random(21);
  for (int round = 0; round < 150; ++round) {
    const int num_layers = 1 + static_cast<int>(random() % 5);
    const int32_t num_tokens =
        round < 50 ? 1 + round % 5 : 1 + static_cast<int32_t>(random() % 180);
    const OwnedPrompt prompt =
        RandomPrompt(&random, num_layers, num_tokens, static_cast<Spread>(round % 5));
    const auto start_size = static_cast<int32_t>(random() % 5);
    const auto protect = 1 + static_cast<int32_t>(random() % 3);
    for (const RetentionPolicy* policy : RetentionPolicies()) {
      int64_t before = -1;
      for (const double budget : kBudgets) {
        SCOPED_TRACE(testing::Message() << policy->name() << " round " << round << " tokens "
                                        << num_tokens << " budget " << budget);
        const RetentionRecipe recipe =
            RecipeOf(std::string(policy->name()), budget, start_size, protect);
        PromptScores view = prompt.view();
        if (!policy->needs().any()) view.scores = {};
        const auto layers = policy->Select(recipe, view);
        ASSERT_EQ(layers.size(), static_cast<size_t>(num_layers));
        int64_t total = 0;
        for (const LayerSelection& layer : layers) {
          CheckLayer(recipe, num_tokens, layer);
          if (HasFatalFailure()) return;
          total += static_cast<int64_t>(layer.kept.size());
        }
        EXPECT_EQ(total, policy->MaxKept(recipe, num_layers, num_tokens));
        if (budget == 1.0) {
          EXPECT_EQ(total, static_cast<int64_t>(num_layers) * num_tokens);
        }
        EXPECT_TRUE(before < 0 || total <= before);
        before = total;
      }
    }
  }
}

TEST(PolicyProperties, ASmallerBudgetKeepsASubset) {
  std::mt19937_64 random(22);
  for (int round = 0; round < 20; ++round) {
    const OwnedPrompt prompt = RandomPrompt(&random, 4, 120, static_cast<Spread>(round % 5));
    for (const RetentionPolicy* policy : RetentionPolicies()) {
      if (policy->name() == "pyramidkv") continue;  // Its shape changes with the budget.
      std::vector<LayerSelection> before;
      for (const double budget : kBudgets) {
        const RetentionRecipe recipe = RecipeOf(std::string(policy->name()), budget);
        auto layers = policy->Select(recipe, prompt.view());
        for (size_t i = 0; i < before.size(); ++i) {
          EXPECT_TRUE(std::includes(before[i].kept.begin(), before[i].kept.end(),
                                    layers[i].kept.begin(), layers[i].kept.end()))
              << policy->name() << " budget " << budget << " layer " << i;
        }
        before = std::move(layers);
      }
    }
  }
}

TEST(PolicyProperties, PrefixKvKeepsTheHighestScores) {
  std::mt19937_64 random(23);
  const RetentionRecipe recipe = RecipeOf("prefixkv", 0.3);
  for (int round = 0; round < 50; ++round) {
    const OwnedPrompt prompt = RandomPrompt(&random, 3, 60, static_cast<Spread>(round % 5));
    const auto layers = recipe.policy->Select(recipe, prompt.view());
    for (int layer = 0; layer < 3; ++layer) {
      const auto scores = prompt.view().layer(layer);
      const auto& kept = layers[static_cast<size_t>(layer)].kept;
      for (int32_t k = 1; k < 59; ++k) {
        if (std::binary_search(kept.begin(), kept.end(), k)) continue;
        for (const int32_t other : kept) {
          if (other == 0 || other == 59) continue;
          const float lost = scores[static_cast<size_t>(k)];
          const float held = scores[static_cast<size_t>(other)];
          EXPECT_TRUE(lost < held || (lost == held && k < other));
        }
      }
    }
  }
}

TEST(PolicyProperties, AOneHotLayerKeepsTheProtectedAndOneMore) {
  OwnedPrompt prompt = {.num_layers = 2, .num_tokens = 50, .scores = std::vector<float>(100, 1)};
  for (size_t k = 0; k < 50; ++k) prompt.scores[k] = k == 20 ? 50 : 0;
  const RetentionRecipe recipe = RecipeOf("prefixkv", 0.5);
  const auto layers = recipe.policy->Select(recipe, prompt.view());
  EXPECT_EQ(layers[0].kept, (std::vector<int32_t>{0, 20, 49}));
  EXPECT_EQ(layers[1].kept.size(), 47u);
}

TEST(PolicyProperties, RandomDiffersByLayerAndSeed) {
  const RetentionRecipe recipe = RecipeOf("random", 0.5);
  const auto one = recipe.policy->Select(recipe, {.num_layers = 2, .num_tokens = 200, .seed = 1});
  const auto two = recipe.policy->Select(recipe, {.num_layers = 2, .num_tokens = 200, .seed = 2});
  EXPECT_NE(one[0].kept, one[1].kept);
  EXPECT_NE(one[0].kept, two[0].kept);
}

}  // namespace
}  // namespace prefixd
