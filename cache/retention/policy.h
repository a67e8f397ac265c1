// What a retention policy decides: how many tokens each layer keeps of a prompt, and which. One
// kept set per layer serves all heads. A policy is one file that registers nothing: it is listed in
// policies.cc. Pure functions over plain numbers; safe from any thread.
//
// Sources: Wang et al., "PrefixKV", arXiv 2412.03409, and for the others see their files.
#ifndef PREFIXD_CACHE_RETENTION_POLICY_H_
#define PREFIXD_CACHE_RETENTION_POLICY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "cache/retention/recipe.h"

namespace prefixd {

// The attention that a policy wants added up: for every layer and key the probability, averaged
// over the heads, summed over queries.
struct ScoreNeeds {
  bool prompt = false;  // Over all queries of the prompt.
  int32_t window = 0;   // > 0: over the last so many of them instead. Excludes `prompt`.
  bool decode = false;  // Decode queries go on adding. Only with `prompt`.

  bool any() const { return prompt || window > 0; }
};

// Which slot a new token takes when a layer is over its budget.
enum class VictimRule : uint8_t {
  kNone,         // None: layers grow by every token.
  kOldest,       // The oldest from the first droppable slot on: a queue.
  kLowestScore,  // The lowest score; the same slot in all layers. Needs decode scores.
};

// A prompt whose keys are all there.
struct PromptScores {
  int num_layers = 0;
  int32_t num_tokens = 0;  // n >= 1.
  // [num_layers][num_tokens], what needs() asked for; empty if it asked for nothing.
  absl::Span<const float> scores;
  uint64_t seed = 0;  // For policies that draw.

  absl::Span<const float> layer(int index) const {
    return scores.subspan(static_cast<size_t>(index) * static_cast<size_t>(num_tokens),
                          static_cast<size_t>(num_tokens));
  }
};

struct LayerSelection {
  std::vector<int32_t> kept;  // Positions, ascending, distinct; not empty.
  // While decoding, the layer grows by (1 - forget_ratio) of the tokens. [0, 1).
  double forget_ratio = 0;
  // For policies that merge: for every position the kept position that its key and value are
  // averaged into; a kept one names itself. Empty: what is dropped is gone.
  std::vector<int32_t> merged_into;
};

class RetentionPolicy {
 public:
  virtual ~RetentionPolicy() = default;

  virtual absl::string_view name() const = 0;  // As requests spell it: [a-z0-9-]+.
  virtual int version() const { return 1; }    // Counts changes of what is kept.
  virtual absl::string_view summary() const = 0;
  virtual ScoreNeeds needs() const = 0;
  virtual VictimRule victim_rule() const = 0;
  // Whether layer_forget_ratios of the recipe are heeded.
  virtual bool takes_profile() const { return false; }
  virtual bool merges() const { return false; }

  // Tokens kept over all layers of a prompt of `num_tokens`, at most. Known without scores.
  virtual int64_t MaxKept(const RetentionRecipe& recipe, int num_layers,
                          int32_t num_tokens) const = 0;

  // One entry a layer. In each layer at least the recipe's protected tokens are kept (all of a
  // prompt that has no more), unless the policy's file says otherwise. Ties: the lower position is
  // dropped first. Deterministic.
  virtual std::vector<LayerSelection> Select(const RetentionRecipe& recipe,
                                             const PromptScores& prompt) const = 0;

  // The first slot that may be dropped while decoding, of a layer that kept `kept` slots; slots
  // from there on form the queue of kOldest. May be >= kept: then nothing is dropped until the
  // layer has grown beyond it.
  virtual int32_t FirstDroppable(const RetentionRecipe& recipe, int32_t kept) const;
};

// All policies, in the order of docs and reports.
absl::Span<const RetentionPolicy* const> RetentionPolicies();

// The policy of this name; null if there is none.
const RetentionPolicy* FindRetentionPolicy(absl::string_view name);

// The names of all, for messages: "full, prefixkv, ...".
std::string RetentionPolicyNames();

// --- What policies have in common

// round(x), halves to even, as numpy rounds.
int64_t RoundHalfEven(double x);

// The candidates, positions [begin, end), without the `forget` lowest scores: ascending.
// Ties: the lower position goes first. Requires: 0 <= forget <= end - begin.
std::vector<int32_t> KeepHighest(absl::Span<const float> scores, int32_t begin, int32_t end,
                                 int32_t forget);

// How many entries a layer is over its budget when it holds `length` tokens, of `seen` that count
// towards it and `offset` that do not: the number of the published code, in double, truncated
// towards zero, at least 0.
inline int32_t DropsDue(int32_t length, int32_t seen, double forget_ratio, double offset = 0.0) {
  const double allowed = offset + static_cast<double>(seen) * (1.0 - forget_ratio);
  const double over = static_cast<double>(length) - allowed;
  return over >= 1.0 ? static_cast<int32_t>(over) : 0;
}

// The share of a layer's scores that the kept positions have, [0, 1]; 1 if all scores are 0.
double ScoreMass(absl::Span<const float> scores, absl::Span<const int32_t> kept);

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_POLICY_H_
