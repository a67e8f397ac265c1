#include "tests/retention/retention_testing.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/json.h"

namespace prefixd {

nlohmann::json ReadRetentionGolden(const std::string& file) {
  return ReadJsonFile(absl::StrCat(PREFIXD_SOURCE_DIR, "/tests/golden/retention/", file), 1 << 20)
      .value();
}

OwnedPrompt PromptOf(const nlohmann::json& golden) {
  OwnedPrompt prompt = {.num_layers = golden["layers"], .num_tokens = golden["tokens"]};
  std::string bytes;
  PREFIXD_CHECK(absl::Base64Unescape(golden["scores"].get<std::string>(), &bytes));
  prompt.scores.resize(static_cast<size_t>(prompt.num_layers) *
                       static_cast<size_t>(prompt.num_tokens));
  PREFIXD_CHECK(bytes.size() == prompt.scores.size() * sizeof(float));
  std::memcpy(prompt.scores.data(), bytes.data(), bytes.size());
  return prompt;
}

std::vector<int32_t> PositionsOf(const nlohmann::json& mask, int32_t num_tokens) {
  const std::string bytes = absl::HexStringToBytes(mask.get<std::string>());
  std::vector<int32_t> positions;
  for (int32_t k = 0; k < num_tokens; ++k) {
    if (static_cast<unsigned char>(bytes[static_cast<size_t>(k / 8)]) >> (k % 8) & 1) {
      positions.push_back(k);
    }
  }
  return positions;
}

RetentionRecipe RecipeOf(const std::string& policy, double budget, int32_t start_size,
                         int32_t protect) {
  RetentionRecipe recipe = {.policy = FindRetentionPolicy(policy),
                            .budget = budget,
                            .start_size = start_size,
                            .protect = protect};
  PREFIXD_CHECK(recipe.policy != nullptr);
  return recipe;
}

OwnedPrompt RandomPrompt(std::mt19937_64* random, int num_layers, int32_t num_tokens,
                         Spread spread) {
  OwnedPrompt prompt = {.num_layers = num_layers, .num_tokens = num_tokens, .seed = (*random)()};
  for (int layer = 0; layer < num_layers; ++layer) {
    const Spread here = spread == Spread::kMixed ? static_cast<Spread>((*random)() % 4) : spread;
    std::exponential_distribution<double> exponential(1);
    for (int32_t k = 0; k < num_tokens; ++k) {
      const double draw = exponential(*random);
      double score = 0;
      if (here == Spread::kEven) score = 3;
      if (here == Spread::kPeaked) score = draw * draw * draw * draw;
      if (here == Spread::kFewValues) score = static_cast<double>((*random)() % 4);
      prompt.scores.push_back(static_cast<float>(score));
    }
  }
  return prompt;
}

DecodingLayer::DecodingLayer(absl::Span<const int32_t> kept, int32_t first_droppable)
    : first_droppable_(static_cast<size_t>(first_droppable)) {
  for (const int32_t token : kept) Add(token);
}

int32_t DecodingLayer::Step(int32_t seen, double forget_ratio) {
  Add(seen - 1);
  if (DropsDue(length(), seen, forget_ratio) < 1 || queue_.empty()) return -1;
  const int32_t oldest = queue_.front();
  queue_.pop_front();
  return oldest;
}

std::vector<int32_t> DecodingLayer::tokens() const {
  std::vector<int32_t> tokens = pinned_;
  tokens.insert(tokens.end(), queue_.begin(), queue_.end());
  return tokens;
}

void DecodingLayer::Add(int32_t token) {
  if (pinned_.size() < first_droppable_) {
    pinned_.push_back(token);
  } else {
    queue_.push_back(token);
  }
  most_slots_ = std::max(most_slots_, length());
}

}  // namespace prefixd
