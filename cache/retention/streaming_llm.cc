// StreamingLLM (Xiao et al., arXiv 2309.17453) as in kvpress: four attention sinks and the most
// recent tokens, once, at the end of the prompt; nothing is dropped while decoding. Positions go on
// counting; the original numbers them within its cache. With more than four first tokens protected,
// those are the sinks.
#include <algorithm>
#include <cstddef>

#include "cache/retention/policy_list.h"
#include "cache/retention/selection.h"

namespace prefixd {
namespace {

constexpr int32_t kSinks = 4;

int32_t Sinks(const RetentionRecipe& recipe) { return std::max(kSinks, recipe.start_size); }

// Of the tokens after the sinks, how many are kept.
int32_t Recent(const RetentionRecipe& recipe, int32_t num_tokens) {
  return std::max(UniformKept(recipe, num_tokens) - Sinks(recipe), recipe.protect);
}

class StreamingLlm : public RetentionPolicy {
 public:
  absl::string_view name() const override { return "streaming-llm"; }
  absl::string_view summary() const override {
    return "four sinks and the most recent, at the prompt's end only";
  }
  ScoreNeeds needs() const override { return {}; }
  VictimRule victim_rule() const override { return VictimRule::kNone; }

  int64_t MaxKept(const RetentionRecipe& recipe, int num_layers,
                  int32_t num_tokens) const override {
    return static_cast<int64_t>(num_layers) *
           std::min(num_tokens, Sinks(recipe) + Recent(recipe, num_tokens));
  }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    const int32_t recent = Recent(recipe, prompt.num_tokens);
    return std::vector<LayerSelection>(
        static_cast<size_t>(prompt.num_layers),
        {.kept = KeepEnds(prompt.num_tokens, Sinks(recipe), recent)});
  }
};

}  // namespace

const RetentionPolicy* StreamingLlmPolicy() {
  static const auto* const policy = new StreamingLlm;
  return policy;
}

}  // namespace prefixd
