// Keeps everything: what the others are compared with.
#include "cache/retention/policy_list.h"
#include "cache/retention/selection.h"

namespace prefixd {
namespace {

class Full : public RetentionPolicy {
 public:
  absl::string_view name() const override { return "full"; }
  absl::string_view summary() const override { return "keeps everything"; }
  ScoreNeeds needs() const override { return {}; }
  VictimRule victim_rule() const override { return VictimRule::kNone; }

  int64_t MaxKept(const RetentionRecipe&, int num_layers, int32_t num_tokens) const override {
    return static_cast<int64_t>(num_layers) * num_tokens;
  }

  std::vector<LayerSelection> Select(const RetentionRecipe&,
                                     const PromptScores& prompt) const override {
    return std::vector<LayerSelection>(static_cast<size_t>(prompt.num_layers),
                                       {.kept = AllPositions(prompt.num_tokens)});
  }
};

}  // namespace

const RetentionPolicy* FullPolicy() {
  static const auto* const policy = new Full;
  return policy;
}

}  // namespace prefixd
