// SnapKV, PyramidKV and StreamingLLM against what kvpress itself left in caches with one kv head
// (tests/golden/make/retention_kvpress.py).
#include <gtest/gtest.h>

#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

TEST(KvpressGolden, KeepsTheSetsThatKvpressKeeps) {
  int cases = 0, pyramids = 0;
  for (const auto& golden : ReadRetentionGolden("kvpress.json")) {
    const OwnedPrompt prompt = PromptOf(golden);
    for (const auto& c : golden["cases"]) {
      const RetentionRecipe recipe = RecipeOf(c["policy"], c["budget"]);
      SCOPED_TRACE(testing::Message() << recipe.policy->name() << " budget " << recipe.budget
                                      << " tokens " << prompt.num_tokens);
      const auto layers = recipe.policy->Select(recipe, prompt.view());
      ASSERT_EQ(layers.size(), static_cast<size_t>(prompt.num_layers));
      int64_t total = 0;
      for (size_t i = 0; i < layers.size(); ++i) {
        EXPECT_EQ(layers[i].kept, PositionsOf(c["kept"][i], prompt.num_tokens)) << "layer " << i;
        EXPECT_EQ(layers[i].forget_ratio, 0);
        total += static_cast<int64_t>(layers[i].kept.size());
      }
      EXPECT_EQ(total, recipe.policy->MaxKept(recipe, prompt.num_layers, prompt.num_tokens));
      pyramids += layers.front().kept.size() != layers.back().kept.size() ? 1 : 0;
      ++cases;
    }
  }
  EXPECT_EQ(cases, 3 * 16);
  EXPECT_GE(pyramids, 4);  // Else only the flat form of PyramidKV was seen.
}

}  // namespace
}  // namespace prefixd
