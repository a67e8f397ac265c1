// From what requests, tenants and the engine's options say of retention to one recipe.
// Immutable; safe from any thread.
#ifndef PREFIXD_ENGINE_RETENTION_CATALOGUE_H_
#define PREFIXD_ENGINE_RETENTION_CATALOGUE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cache/retention/profile.h"
#include "engine/options.h"
#include "engine/request.h"
#include "engine/retention_state.h"

namespace prefixd {

class RetentionCatalogue {
 public:
  // Nothing is kept back by default, and there are no offline profiles.
  explicit RetentionCatalogue(int num_layers);

  // With the defaults of `options` and all profiles of its directory. Errors: INVALID_ARGUMENT or
  // NOT_FOUND naming the option or file; also where no request could use a default.
  static absl::StatusOr<RetentionCatalogue> Create(const EngineOptions& options, int num_layers);

  // What is in force for a request of a tenant with these defaults: scope, recipe and
  // default_budget are set. `budget_raise` is added to budgets that are defaults.
  // Errors: INVALID_ARGUMENT, PARAMETER_OUT_OF_RANGE, naming the field, its value and its range.
  absl::StatusOr<RetentionState> Resolve(const RetentionParams& request,
                                         const RetentionParams& tenant, double budget_raise) const;

  // Every field is set.
  const RetentionParams& defaults() const { return defaults_; }
  std::vector<std::string> ProfileNames() const;

 private:
  int num_layers_;
  RetentionParams defaults_;
  std::map<std::string, RetentionProfile> profiles_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_RETENTION_CATALOGUE_H_
