// Random: a control. Each layer keeps tokens drawn from the prompt's seed, one count for all
// layers.
#include <cstddef>

#include "cache/retention/policy_list.h"
#include "cache/retention/uniform_policy.h"

namespace prefixd {
namespace {

// The output function of SplitMix64 (Steele et al., OOPSLA 2014): a bijection that mixes all bits.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// In [0, 1), a multiple of 2^-24.
float Draw(uint64_t seed, uint64_t layer, uint64_t position) {
  const uint64_t bits = Mix(Mix(seed + 0x9e3779b97f4a7c15u) ^ (layer << 32 | position));
  return static_cast<float>(bits >> 40) * 0x1p-24f;
}

class Random : public UniformPolicy {
 public:
  absl::string_view name() const override { return "random"; }
  absl::string_view summary() const override { return "drawn from the seed: a control"; }
  ScoreNeeds needs() const override { return {}; }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    const int32_t forget = UniformForget(recipe, prompt.num_tokens);
    std::vector<LayerSelection> layers(static_cast<size_t>(prompt.num_layers));
    std::vector<float> scores(static_cast<size_t>(prompt.num_tokens));
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      for (size_t k = 0; k < scores.size(); ++k) scores[k] = Draw(prompt.seed, layer, k);
      layers[layer].kept =
          forget == 0 ? AllPositions(prompt.num_tokens)
                      : KeepEndsAndHighest(scores, recipe.start_size, recipe.protect, forget);
      layers[layer].forget_ratio = recipe.forget_ratio();
    }
    return layers;
  }
};

}  // namespace

const RetentionPolicy* RandomPolicy() {
  static const auto* const policy = new Random;
  return policy;
}

}  // namespace prefixd
