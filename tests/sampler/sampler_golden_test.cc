// Draws against tests/golden/sampler.json, where transformers' processors shaped the distributions.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "tests/sampler/draw_testing.h"

namespace prefixd {
namespace {

nlohmann::json Cases() {
  return ReadJsonFile(PREFIXD_SOURCE_DIR "/tests/golden/sampler.json", 1 << 20).value();
}

SamplingParams ParamsOf(const nlohmann::json& c) {
  SamplingParams params{.temperature = c["temperature"],
                        .top_k = c["top_k"],
                        .top_p = c["top_p"],
                        .min_p = c["min_p"],
                        .repetition_penalty = c["repetition_penalty"],
                        .presence_penalty = c["presence_penalty"],
                        .frequency_penalty = c["frequency_penalty"]};
  for (const auto& bias : c["logit_bias"]) params.logit_bias.emplace_back(bias[0], bias[1]);
  return params;
}

TokenCounter CountsOf(const nlohmann::json& c) {
  TokenCounter counts;
  counts.AddPrompt(c["prompt"].get<std::vector<int32_t>>());
  for (const int32_t id : c["generated"]) counts.AddGenerated(id);
  return counts;
}

TEST(SamplerGolden, DrawsTheTokensOfTheReference) {
  DrawScratch scratch;  // One for all: what an earlier case left must not matter.
  const nlohmann::json cases = Cases();
  ASSERT_EQ(cases.size(), 16u);
  for (const auto& c : cases) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const std::vector<float> logits = c["logits"];
    const SamplingParams params = ParamsOf(c);
    const TokenCounter counts = CountsOf(c);
    const std::vector<int32_t> drawn = c["drawn"];
    for (size_t step = 0; step < drawn.size(); ++step) {
      EXPECT_EQ(Sample(logits,
                       {.params = &params,
                        .seed = c["seed"],
                        .step = static_cast<uint32_t>(step),
                        .choice = c["choice"],
                        .counts = &counts},
                       &scratch),
                drawn[step])
          << "step " << step;
    }
  }
}

TEST(SamplerGolden, DrawsOnlyWhatTheFiltersLeave) {
  DrawScratch scratch;
  for (const auto& c : Cases()) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const std::vector<float> logits = c["logits"];
    const SamplingParams params = ParamsOf(c);
    const TokenCounter counts = CountsOf(c);
    const std::vector<int32_t> allowed = c["allowed"];
    std::vector<bool> seen(logits.size());
    for (uint32_t step = 0; step < 3000; ++step) {
      const int32_t id = Sample(
          logits, {.params = &params, .seed = 99, .step = step, .counts = &counts}, &scratch);
      ASSERT_TRUE(std::binary_search(allowed.begin(), allowed.end(), id)) << id;
      seen[id] = true;
    }
    if (allowed.size() > 6) continue;  // Small sets are seen whole.
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), static_cast<int>(allowed.size()));
  }
}

}  // namespace
}  // namespace prefixd
