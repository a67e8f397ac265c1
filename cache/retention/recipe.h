// A recipe of retention: which slots of a prompt are kept in every layer, and how fast the layers
// may grow afterwards. Immutable once made; safe from any thread. docs/retention.md explains it.
#ifndef PREFIXD_CACHE_RETENTION_RECIPE_H_
#define PREFIXD_CACHE_RETENTION_RECIPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/sha256.h"

namespace prefixd {

class RetentionPolicy;

// docs/decisions.md, section 3.
enum class RetentionScope : uint8_t {
  kOff,     // Everything is kept.
  kExact,   // Scores of the whole prompt, pages of its own: the paper's semantics.
  kShared,  // Scores of a prefix's own queries; the compressed prefix is a snapshot for all.
};

struct RetentionRecipe {
  const RetentionPolicy* policy = nullptr;  // Lives for ever (FindRetentionPolicy).
  double budget = 1.0;                      // Share kept, (0, 1].
  // Forget ratio of each layer, from an offline profile; empty: the policy finds the counts.
  std::vector<double> layer_forget_ratios;
  int32_t start_size = 1;  // Leading tokens that are always kept, >= 0.
  int32_t protect = 1;     // Trailing prompt tokens that are always kept, >= 1.
  // Where drops begin while decoding: at this slot if positive, else so many slots before the end
  // of what the prompt left.
  int32_t distance = -25;
  // A debug mode: the position of a new token is the live length of layer 0, as in the published
  // code, not the number of tokens seen.
  bool reference_positions = false;

  double forget_ratio() const { return 1.0 - budget; }
  // Tokens that no policy drops by score: start_size + protect.
  int32_t num_protected() const { return start_size + protect; }
};

// SHA-256 over everything in the recipe that decides which slots are kept: the policy's name and
// version, the ratios, or "online" and the budget, and the options.
Sha256Digest RecipeDigest(const RetentionRecipe& recipe);

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_RECIPE_H_
