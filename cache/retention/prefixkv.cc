// PrefixKV: every layer keeps the shortest prefix of its tokens, sorted by importance, that holds
// one share of the importance common to all layers (Wang et al., arXiv 2412.03409). Importance =
// attention averaged over heads, summed over the prompt's queries.
//
// From the published code (THU-MIG/PrefixKV) it differs in the search of the share, which always
// ends and meets the total exactly (online_counts.h), in counts that never exceed what a layer has,
// and in ties. Two variants of ours: `debiased` divides by the number of queries that see a key, as
// kvpress's ObservedAttention does (causal prompts only); `window` always keeps the last 32 tokens.
#include <algorithm>
#include <cstddef>

#include "base/check.h"
#include "cache/retention/online_counts.h"
#include "cache/retention/policy_list.h"
#include "cache/retention/selection.h"

namespace prefixd {
namespace {

constexpr int32_t kWindow = 32;

// scores[k] / (n - k), for every layer.
std::vector<float> Debiased(const PromptScores& prompt) {
  std::vector<float> scores(prompt.scores.begin(), prompt.scores.end());
  const auto num_tokens = static_cast<size_t>(prompt.num_tokens);
  for (size_t i = 0; i < scores.size(); ++i) {
    const size_t queries = num_tokens - i % num_tokens;
    scores[i] = static_cast<float>(static_cast<double>(scores[i]) / static_cast<double>(queries));
  }
  return scores;
}

class PrefixKv : public RetentionPolicy {
 public:
  PrefixKv(absl::string_view name, absl::string_view summary, bool debias, int32_t window)
      : name_(name), summary_(summary), debias_(debias), window_(window) {}

  absl::string_view name() const override { return name_; }
  absl::string_view summary() const override { return summary_; }
  ScoreNeeds needs() const override { return {.prompt = true}; }
  VictimRule victim_rule() const override { return VictimRule::kOldest; }
  bool takes_profile() const override { return true; }

  int64_t MaxKept(const RetentionRecipe& recipe, int num_layers,
                  int32_t num_tokens) const override {
    const int64_t all = static_cast<int64_t>(num_layers) * num_tokens;
    if (recipe.layer_forget_ratios.empty()) {
      const int64_t most = std::max(0, num_tokens - 1 - Protected(recipe));
      return all - std::min(RoundHalfEven(static_cast<double>(all) * recipe.forget_ratio()),
                            num_layers * most);
    }
    int64_t kept = all;
    for (const int32_t forget : ProfileCounts(recipe, num_layers, num_tokens)) kept -= forget;
    return kept;
  }

  std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                     const PromptScores& prompt) const override {
    PromptScores scored = prompt;
    std::vector<float> debiased;
    if (debias_) {
      debiased = Debiased(prompt);
      scored.scores = debiased;
    }
    const bool online = recipe.layer_forget_ratios.empty();
    const std::vector<int32_t> counts =
        online ? OnlineForgetCounts(scored, recipe.forget_ratio(), Protected(recipe))
               : ProfileCounts(recipe, prompt.num_layers, prompt.num_tokens);
    std::vector<LayerSelection> layers(counts.size());
    for (size_t layer = 0; layer < counts.size(); ++layer) {
      layers[layer].kept = counts[layer] == 0
                               ? AllPositions(prompt.num_tokens)
                               : KeepEndsAndHighest(scored.layer(static_cast<int>(layer)),
                                                    recipe.start_size, Tail(recipe), counts[layer]);
      layers[layer].forget_ratio = online ? static_cast<double>(counts[layer]) / prompt.num_tokens
                                          : recipe.layer_forget_ratios[layer];
    }
    return layers;
  }

 private:
  int32_t Tail(const RetentionRecipe& recipe) const { return std::max(recipe.protect, window_); }
  int32_t Protected(const RetentionRecipe& recipe) const {
    return recipe.start_size + Tail(recipe);
  }

  std::vector<int32_t> ProfileCounts(const RetentionRecipe& recipe, int num_layers,
                                     int32_t num_tokens) const {
    PREFIXD_CHECK(recipe.layer_forget_ratios.size() == static_cast<size_t>(num_layers));
    const int64_t most = std::max(0, num_tokens - Protected(recipe));
    std::vector<int32_t> counts;
    for (const double ratio : recipe.layer_forget_ratios) {
      const int64_t count = RoundHalfEven(ratio * num_tokens);
      counts.push_back(static_cast<int32_t>(std::clamp<int64_t>(count, 0, most)));
    }
    return counts;
  }

  const absl::string_view name_;     // Of static lifetime.
  const absl::string_view summary_;  // Of static lifetime.
  const bool debias_;
  const int32_t window_;  // Trailing tokens that are kept in any case.
};

}  // namespace

const RetentionPolicy* PrefixKvPolicy() {
  static const auto* const policy =
      new PrefixKv("prefixkv", "one share of the importance for all layers", false, 0);
  return policy;
}

const RetentionPolicy* PrefixKvDebiasedPolicy() {
  static const auto* const policy = new PrefixKv(
      "prefixkv-debiased", "prefixkv, importance per query that sees the token", true, 0);
  return policy;
}

const RetentionPolicy* PrefixKvWindowPolicy() {
  static const auto* const policy =
      new PrefixKv("prefixkv-window", "prefixkv, the last 32 tokens always kept", false, kWindow);
  return policy;
}

}  // namespace prefixd
