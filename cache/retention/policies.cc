// The list of policies, what they share by default, and the digest of a recipe.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <string>

#include "cache/retention/policy.h"
#include "cache/retention/policy_list.h"

namespace prefixd {

absl::Span<const RetentionPolicy* const> RetentionPolicies() {
  static const std::array policies = {
      FullPolicy(),      PrefixKvPolicy(),     PrefixKvDebiasedPolicy(), PrefixKvWindowPolicy(),
      LocalPolicy(),     H2oPolicy(),          ElasticPolicy(),          SnapKvPolicy(),
      PyramidKvPolicy(), StreamingLlmPolicy(), RandomPolicy(),
  };
  return policies;
}

const RetentionPolicy* FindRetentionPolicy(absl::string_view name) {
  for (const RetentionPolicy* policy : RetentionPolicies()) {
    if (policy->name() == name) return policy;
  }
  return nullptr;
}

std::string RetentionPolicyNames() {
  std::string names;
  for (const RetentionPolicy* policy : RetentionPolicies()) {
    if (!names.empty()) names += ", ";
    names += std::string(policy->name());
  }
  return names;
}

int32_t RetentionPolicy::FirstDroppable(const RetentionRecipe& recipe, int32_t kept) const {
  int32_t slot = recipe.distance;
  if (slot <= 0) slot = kept + slot >= 1 ? kept + slot : kept / 2;
  return std::max(recipe.start_size, slot);
}

// The format is pinned by a test: "retentn1", the policy's name with its length before it, its
// version, then either "profile" and the number of ratios and their bits, or "online" and the
// budget's bits, then start_size, protect, distance and reference_positions; numbers are eight
// little-endian bytes.
Sha256Digest RecipeDigest(const RetentionRecipe& recipe) {
  const absl::string_view name = recipe.policy->name();
  Sha256 hasher;
  hasher.Update(absl::string_view("retentn1"));
  hasher.Update(static_cast<uint64_t>(name.size())).Update(name);
  hasher.Update(static_cast<uint64_t>(recipe.policy->version()));
  if (recipe.policy->takes_profile() && !recipe.layer_forget_ratios.empty()) {
    hasher.Update(absl::string_view("profile"));
    hasher.Update(static_cast<uint64_t>(recipe.layer_forget_ratios.size()));
    for (const double ratio : recipe.layer_forget_ratios) {
      hasher.Update(std::bit_cast<uint64_t>(ratio));
    }
  } else {
    hasher.Update(absl::string_view("online"));
    hasher.Update(std::bit_cast<uint64_t>(recipe.budget));
  }
  hasher.Update(static_cast<uint64_t>(recipe.start_size));
  hasher.Update(static_cast<uint64_t>(recipe.protect));
  hasher.Update(static_cast<uint64_t>(static_cast<int64_t>(recipe.distance)));
  hasher.Update(static_cast<uint64_t>(recipe.reference_positions));
  return hasher.Finish();
}

}  // namespace prefixd
