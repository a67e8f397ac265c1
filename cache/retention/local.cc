// Local: the first start_size tokens and the most recent ones, the same in all layers: the window
// of StreamingLLM (Xiao et al., arXiv 2309.17453) as ElasticCache has it, with positions that go on
// counting. Drops while decoding keep the window: they begin right after the first tokens, whatever
// the recipe's distance.
#include "cache/retention/policy_list.h"
#include "cache/retention/uniform_policy.h"

namespace prefixd {
namespace {

class Local : public UniformPolicy {
 public:
  absl::string_view name() const override { return "local"; }
  absl::string_view summary() const override { return "first tokens and the most recent"; }
  ScoreNeeds needs() const override { return {}; }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    const int32_t kept = prompt.num_tokens - UniformForget(recipe, prompt.num_tokens);
    return std::vector<LayerSelection>(
        static_cast<size_t>(prompt.num_layers),
        {.kept = KeepEnds(prompt.num_tokens, recipe.start_size, kept - recipe.start_size),
         .forget_ratio = recipe.forget_ratio()});
  }

  int32_t FirstDroppable(const RetentionRecipe& recipe, int32_t /*kept*/) const override {
    return recipe.start_size;
  }
};

}  // namespace

const RetentionPolicy* LocalPolicy() {
  static const auto* const policy = new Local;
  return policy;
}

}  // namespace prefixd
