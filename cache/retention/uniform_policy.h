// The base of policies that forget the same number of tokens in every layer, as ElasticCache counts
// them (UniformForget), and go on at the same rate while decoding.
#ifndef PREFIXD_CACHE_RETENTION_UNIFORM_POLICY_H_
#define PREFIXD_CACHE_RETENTION_UNIFORM_POLICY_H_

#include <cstdint>

#include "cache/retention/policy.h"
#include "cache/retention/selection.h"

namespace prefixd {

class UniformPolicy : public RetentionPolicy {
 public:
  VictimRule victim_rule() const override { return VictimRule::kOldest; }

  int64_t MaxKept(const RetentionRecipe& recipe, int num_layers,
                  int32_t num_tokens) const override {
    return static_cast<int64_t>(num_layers) * (num_tokens - UniformForget(recipe, num_tokens));
  }
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_RETENTION_UNIFORM_POLICY_H_
