// SnapKV (Li et al., arXiv 2404.14469) as in kvpress: once, at the end of the prompt, the last 64
// queries vote on the earlier keys; one count for all layers. Nothing is dropped while decoding.
//
// The window is always kept, also where the budget is smaller, and so is the whole of a prompt that
// is no longer. The first tokens are not protected (start_size has no effect). Votes are averaged
// over all heads; the original keeps a set for each kv head, which is the same with one kv head.
#include <cstddef>

#include "cache/retention/policy_list.h"
#include "cache/retention/selection.h"
#include "cache/retention/snapkv_votes.h"

namespace prefixd {
namespace {

class SnapKv : public RetentionPolicy {
 public:
  absl::string_view name() const override { return "snapkv"; }
  absl::string_view summary() const override {
    return "most attended by the last 64 queries, at the prompt's end only";
  }
  ScoreNeeds needs() const override { return {.window = kSnapKvWindow}; }
  VictimRule victim_rule() const override { return VictimRule::kNone; }

  int64_t MaxKept(const RetentionRecipe& recipe, int num_layers,
                  int32_t num_tokens) const override {
    return static_cast<int64_t>(num_layers) *
           SnapKvKept(UniformKept(recipe, num_tokens), recipe.protect, num_tokens);
  }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    const int32_t kept =
        SnapKvKept(UniformKept(recipe, prompt.num_tokens), recipe.protect, prompt.num_tokens);
    std::vector<LayerSelection> layers(static_cast<size_t>(prompt.num_layers));
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      layers[layer].kept =
          KeepMostVoted(prompt.layer(static_cast<int>(layer)), recipe.protect, kept);
    }
    return layers;
  }
};

}  // namespace

const RetentionPolicy* SnapKvPolicy() {
  static const auto* const policy = new SnapKv;
  return policy;
}

}  // namespace prefixd
