// Elastic Cache (Liu et al., arXiv 2407.18121): the highest scores of each layer, one count for all
// layers; the key and value of a dropped token are averaged into the nearest kept one.
//
// Unlike the published code the highest scores are kept and the merges go where they belong: there
// a permutation of indices stands for ranks, and dropped indices lack the offset of the first
// tokens. Of two kept tokens equally near, the lower takes the merge.
#include <cstddef>

#include "cache/retention/policy_list.h"
#include "cache/retention/uniform_policy.h"

namespace prefixd {
namespace {

// For every position the nearest kept one. `kept` is ascending and not empty.
std::vector<int32_t> NearestKept(const std::vector<int32_t>& kept, int32_t num_tokens) {
  std::vector<int32_t> nearest(static_cast<size_t>(num_tokens));
  size_t at = 0;  // Index of the nearest so far; it never moves back.
  for (int32_t position = 0; position < num_tokens; ++position) {
    while (at + 1 < kept.size() && kept[at + 1] - position < position - kept[at]) ++at;
    nearest[static_cast<size_t>(position)] = kept[at];
  }
  return nearest;
}

class Elastic : public UniformPolicy {
 public:
  absl::string_view name() const override { return "elastic"; }
  absl::string_view summary() const override {
    return "highest attention of each layer, the rest merged into neighbours";
  }
  ScoreNeeds needs() const override { return {.prompt = true}; }
  bool merges() const override { return true; }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    const int32_t forget = UniformForget(recipe, prompt.num_tokens);
    std::vector<LayerSelection> layers(static_cast<size_t>(prompt.num_layers));
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      layers[layer].forget_ratio = recipe.forget_ratio();
      if (forget == 0) {
        layers[layer].kept = AllPositions(prompt.num_tokens);
        continue;
      }
      layers[layer].kept = KeepEndsAndHighest(prompt.layer(static_cast<int>(layer)),
                                              recipe.start_size, recipe.protect, forget);
      layers[layer].merged_into = NearestKept(layers[layer].kept, prompt.num_tokens);
    }
    return layers;
  }
};

}  // namespace

const RetentionPolicy* ElasticPolicy() {
  static const auto* const policy = new Elastic;
  return policy;
}

}  // namespace prefixd
