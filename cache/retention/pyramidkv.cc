// PyramidKV (Cai et al., arXiv 2406.02069) as in kvpress: SnapKV's votes, with counts that fall
// linearly from the first layer to the last. kvpress gives every layer the same where the budget is
// too small for a pyramid (its last layer would keep less than the window). What snapkv.cc says of
// the window, of the first tokens, of heads and of decoding holds here too.
#include <cstddef>

#include "cache/retention/policy_list.h"
#include "cache/retention/snapkv_votes.h"

namespace prefixd {
namespace {

constexpr double kBeta = 20;  // How steep the pyramid is.

// Tokens that each layer is to keep, before the window's and the prompt's bounds.
std::vector<int32_t> PyramidCounts(const RetentionRecipe& recipe, int num_layers,
                                   int32_t num_tokens) {
  const double n = num_tokens;
  const double mean = n * (1.0 - recipe.forget_ratio());
  double fewest = mean / kBeta;
  double most = mean * 2 - fewest;
  if (most >= n - kSnapKvWindow) {
    most = n - kSnapKvWindow;
    fewest = mean * 2 - most;
  }
  if (!(n >= most && most >= fewest && fewest >= kSnapKvWindow)) most = fewest = mean;
  const double step = num_layers > 1 ? (most - fewest) / (num_layers - 1) : 0;
  std::vector<int32_t> counts;
  for (int layer = 0; layer < num_layers; ++layer) {
    counts.push_back(static_cast<int32_t>(RoundHalfEven(most - layer * step)));
  }
  return counts;
}

class PyramidKv : public RetentionPolicy {
 public:
  absl::string_view name() const override { return "pyramidkv"; }
  absl::string_view summary() const override {
    return "snapkv with counts that fall from the first layer to the last";
  }
  ScoreNeeds needs() const override { return {.window = kSnapKvWindow}; }
  VictimRule victim_rule() const override { return VictimRule::kNone; }

  int64_t MaxKept(const RetentionRecipe& recipe, int num_layers,
                  int32_t num_tokens) const override {
    int64_t kept = 0;
    for (const int32_t count : PyramidCounts(recipe, num_layers, num_tokens)) {
      kept += SnapKvKept(count, recipe.protect, num_tokens);
    }
    return kept;
  }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    const std::vector<int32_t> counts = PyramidCounts(recipe, prompt.num_layers, prompt.num_tokens);
    std::vector<LayerSelection> layers(counts.size());
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      layers[layer].kept =
          KeepMostVoted(prompt.layer(static_cast<int>(layer)), recipe.protect,
                        SnapKvKept(counts[layer], recipe.protect, prompt.num_tokens));
    }
    return layers;
  }
};

}  // namespace

const RetentionPolicy* PyramidKvPolicy() {
  static const auto* const policy = new PyramidKv;
  return policy;
}

}  // namespace prefixd
