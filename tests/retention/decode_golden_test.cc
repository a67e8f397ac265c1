// Which token goes at which decode step: the published rule on plain lists (`del kept[index]`)
// against DropsDue, FirstDroppable and a queue of slots.
#include <gtest/gtest.h>

#include "tests/retention/retention_testing.h"

namespace prefixd {
namespace {

TEST(DecodeGolden, DropsTheSameTokensAtTheSameSteps) {
  int schedules = 0, drops = 0;
  for (const char* name : {"demo-0", "demo-3"}) {
    const auto golden = ReadRetentionGolden(std::string(name) + ".json");
    const int32_t num_tokens = golden["tokens"];
    for (const auto& c : golden["decode"]) {
      RetentionRecipe recipe = RecipeOf("prefixkv", c["budget"]);
      recipe.distance = c["distance"];
      for (size_t layer = 0; layer < c["layers"].size(); ++layer) {
        SCOPED_TRACE(testing::Message() << name << " budget " << recipe.budget << " distance "
                                        << recipe.distance << " layer " << layer);
        const std::vector<int32_t> kept = PositionsOf(c["kept"][layer], num_tokens);
        DecodingLayer decoding(
            kept, recipe.policy->FirstDroppable(recipe, static_cast<int32_t>(kept.size())));
        const std::vector<int32_t> expected = c["layers"][layer]["dropped"];
        ASSERT_EQ(expected.size(), 260u);
        std::vector<int32_t> dropped;
        for (size_t step = 0; step < expected.size(); ++step) {
          dropped.push_back(decoding.Step(num_tokens + static_cast<int32_t>(step) + 1,
                                          c["ratios"][layer].get<double>()));
          drops += dropped.back() >= 0 ? 1 : 0;
        }
        EXPECT_EQ(dropped, expected);
        EXPECT_EQ(decoding.tokens(), c["layers"][layer]["left"].get<std::vector<int32_t>>());
        ++schedules;
      }
    }
  }
  EXPECT_EQ(schedules, 2 * 9 * 6);
  EXPECT_GT(drops, 10000);
}

}  // namespace
}  // namespace prefixd
