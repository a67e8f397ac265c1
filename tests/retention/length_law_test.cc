// How long a layer can become while decoding: engines reserve pages by this bound.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

TEST(LengthLaw, SlotsStayWithinTheBoundOverManySteps) {
  std::mt19937_64 random(31);
  int steps = 0, layers = 0, at_the_bound = 0;
  for (; steps < 300000; ++layers) {
    const int32_t num_tokens = 1 + static_cast<int32_t>(random() % 700);
    RetentionRecipe recipe = RecipeOf("prefixkv", 0.5, static_cast<int32_t>(random() % 5));
    if (layers % 7 == 3) recipe.distance = static_cast<int32_t>(random() % 800);
    double ratio = static_cast<double>(random() % 1000) / 1000;
    int32_t forget = static_cast<int32_t>(RoundHalfEven(ratio * num_tokens));
    forget = std::min(forget, std::max(0, num_tokens - recipe.num_protected()));
    if (layers % 2 == 0) ratio = static_cast<double>(forget) / num_tokens;  // Online counts.
    const int32_t kept = num_tokens - forget;
    std::vector<int32_t> positions(static_cast<size_t>(kept));  // Which ones does not matter.
    const int32_t first = recipe.policy->FirstDroppable(recipe, kept);
    DecodingLayer layer(positions, first);
    const int32_t new_tokens = 100 + static_cast<int32_t>(random() % 500);
    for (int32_t seen = num_tokens + 1; seen <= num_tokens + new_tokens; ++seen, ++steps) {
      layer.Step(seen, ratio);
      const auto rate = static_cast<int32_t>(std::ceil(seen * (1 - ratio)));
      const int32_t bound = std::max(std::max(kept, first) + 1, rate + 2);
      ASSERT_LE(layer.most_slots(), bound)
          << "kept " << kept << " of " << num_tokens << " ratio " << ratio << " seen " << seen;
      at_the_bound += layer.most_slots() == bound ? 1 : 0;
      if (seen > num_tokens + 30 && first < kept) {
        ASSERT_LE(layer.length(), std::max(kept, rate + 1));
      }
      ASSERT_GE(layer.length(), std::min(seen, recipe.start_size));
    }
  }
  EXPECT_GE(layers, 500);
  EXPECT_GT(at_the_bound, 0);  // One less would be exceeded.
}

TEST(LengthLaw, TheFirstTokensAreNeverDropped) {
  std::mt19937_64 random(32);
  for (int round = 0; round < 100; ++round) {
    const int32_t num_tokens = 5 + static_cast<int32_t>(random() % 100);
    const OwnedPrompt prompt = RandomPrompt(&random, 1, num_tokens, Spread::kPeaked);
    for (const char* name : {"prefixkv", "local", "elastic", "random"}) {
      RetentionRecipe recipe = RecipeOf(name, 0.1 + 0.8 * (round / 100.0), 3);
      recipe.distance = static_cast<int32_t>(random() % 100) - 60;
      const auto selection = recipe.policy->Select(recipe, prompt.view()).at(0);
      DecodingLayer layer(selection.kept, recipe.policy->FirstDroppable(
                                              recipe, static_cast<int32_t>(selection.kept.size())));
      for (int32_t seen = num_tokens + 1; seen < num_tokens + 300; ++seen) {
        EXPECT_FALSE(layer.Step(seen, selection.forget_ratio) >= 0 && layer.length() < 3);
      }
      const auto tokens = layer.tokens();
      for (int32_t k = 0; k < 3; ++k) EXPECT_EQ(tokens[static_cast<size_t>(k)], k) << name;
    }
  }
}

}  // namespace
}  // namespace prefixd
