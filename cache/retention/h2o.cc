// H2O as in ElasticCache: the heaviest hitters by accumulated attention (Zhang et al., arXiv
// 2306.14048), one score a position for all heads and layers, so that all layers keep the same.
// While decoding the scores grow and the lowest goes.
//
// As there, the first tokens are not protected at prefill, only the last `protect`; no layer keeps
// fewer than start_size + protect. Unlike there, the highest scores are kept: the published code
// compares a permutation of indices where it means ranks. The original paper selects per layer and
// head, half of it recent tokens.
#include <cstddef>

#include "cache/retention/policy_list.h"
#include "cache/retention/uniform_policy.h"

namespace prefixd {
namespace {

// The mean over layers, in double, rounded once.
std::vector<float> MeanOverLayers(const PromptScores& prompt) {
  std::vector<float> mean(static_cast<size_t>(prompt.num_tokens));
  for (size_t k = 0; k < mean.size(); ++k) {
    double sum = 0;
    for (int layer = 0; layer < prompt.num_layers; ++layer) sum += prompt.layer(layer)[k];
    mean[k] = static_cast<float>(sum / prompt.num_layers);
  }
  return mean;
}

class H2o : public UniformPolicy {
 public:
  absl::string_view name() const override { return "h2o"; }
  absl::string_view summary() const override {
    return "highest attention over all layers, the same in all";
  }
  ScoreNeeds needs() const override { return {.prompt = true, .decode = true}; }
  VictimRule victim_rule() const override { return VictimRule::kLowestScore; }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    const int32_t forget = UniformForget(recipe, prompt.num_tokens);
    LayerSelection selection = {.forget_ratio = recipe.forget_ratio()};
    selection.kept = forget == 0
                         ? AllPositions(prompt.num_tokens)
                         : KeepEndsAndHighest(MeanOverLayers(prompt), 0, recipe.protect, forget);
    return std::vector<LayerSelection>(static_cast<size_t>(prompt.num_layers), selection);
  }

  int32_t FirstDroppable(const RetentionRecipe& recipe, int32_t /*kept*/) const override {
    return recipe.start_size;
  }
};

}  // namespace

const RetentionPolicy* H2oPolicy() {
  static const auto* const policy = new H2o;
  return policy;
}

}  // namespace prefixd
