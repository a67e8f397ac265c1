#include "engine/retention_catalogue.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "cache/retention/policy.h"
#include "engine/error_reasons.h"
#include "engine/retention_limits.h"

namespace prefixd {
namespace {

absl::Status Refused(absl::string_view field, absl::string_view value, absl::string_view allowed) {
  return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                   absl::StrCat("retention.", field, " is ", value, ", ", allowed),
                   {{"field", absl::StrCat("retention.", field)}});
}

absl::Status CheckRange(absl::string_view field, int32_t value, int32_t low, int32_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Refused(field, absl::StrCat(value), absl::StrCat("the range is [", low, ", ", high, "]"));
}

// The first of the three that says something.
template <typename T>
const T& FirstOf(const std::optional<T>& request, const std::optional<T>& tenant,
                 const std::optional<T>& otherwise) {
  return request ? *request : tenant ? *tenant : *otherwise;
}

RetentionScope ScopeNamed(const std::string& name) {
  if (name == "exact") return RetentionScope::kExact;
  return name == "shared" ? RetentionScope::kShared : RetentionScope::kOff;
}

}  // namespace

RetentionCatalogue::RetentionCatalogue(int num_layers)
    : num_layers_(num_layers),
      defaults_{.scope = RetentionScope::kOff,
                .budget = 1.0,
                .policy = "prefixkv",
                .profile = "",
                .start_size = 1,
                .protect = 1,
                .distance = -25} {}

absl::StatusOr<RetentionCatalogue> RetentionCatalogue::Create(const EngineOptions& options,
                                                              int num_layers) {
  RetentionCatalogue catalogue(num_layers);
  catalogue.defaults_ = {.scope = ScopeNamed(options.retention),
                         .budget = options.retention_budget,
                         .policy = options.retention_policy,
                         .profile = options.retention_profile,
                         .start_size = options.retention_start_size,
                         .protect = options.retention_protect,
                         .distance = options.retention_distance};
  if (!options.retention_profiles.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                             RetentionProfile::List(options.retention_profiles));
    for (const std::string& name : names) {
      PREFIXD_ASSIGN_OR_RETURN(
          RetentionProfile profile,
          RetentionProfile::Load(options.retention_profiles, name, num_layers));
      catalogue.profiles_.emplace(name, std::move(profile));
    }
  }
  // Defaults that no request could use are an error of the start, not of every request.
  RetentionParams on;
  on.scope = RetentionScope::kExact;
  PREFIXD_RETURN_IF_ERROR(catalogue.Resolve(on, {}, 0).status());
  for (const TenantOptions& tenant : options.tenants) {
    PREFIXD_RETURN_IF_ERROR(catalogue.Resolve(on, tenant.retention, 0).status());
  }
  return catalogue;
}

absl::StatusOr<RetentionState> RetentionCatalogue::Resolve(const RetentionParams& request,
                                                           const RetentionParams& tenant,
                                                           double budget_raise) const {
  RetentionState state;
  state.scope = FirstOf(request.scope, tenant.scope, defaults_.scope);
  state.default_budget = !request.budget.has_value();
  RetentionRecipe& recipe = state.recipe;
  const std::string& policy = FirstOf(request.policy, tenant.policy, defaults_.policy);
  recipe.policy = FindRetentionPolicy(policy);
  if (recipe.policy == nullptr) {
    return Refused("policy", absl::StrCat("\"", policy, "\""),
                   absl::StrCat("known are ", RetentionPolicyNames()));
  }
  recipe.budget = FirstOf(request.budget, tenant.budget, defaults_.budget);
  if (!(recipe.budget >= kMinRetentionBudget && recipe.budget <= 1.0)) {
    return Refused("budget", absl::StrCat(recipe.budget),
                   absl::StrCat("the range is [", kMinRetentionBudget, ", 1]"));
  }
  if (state.default_budget) recipe.budget = std::min(1.0, recipe.budget + budget_raise);
  recipe.start_size = FirstOf(request.start_size, tenant.start_size, defaults_.start_size);
  recipe.protect = FirstOf(request.protect, tenant.protect, defaults_.protect);
  recipe.distance = FirstOf(request.distance, tenant.distance, defaults_.distance);
  recipe.reference_positions = request.reference_positions;
  PREFIXD_RETURN_IF_ERROR(CheckRange("start_size", recipe.start_size, 0, kMaxRetentionStartSize));
  PREFIXD_RETURN_IF_ERROR(CheckRange("protect", recipe.protect, 1, kMaxRetentionProtect));
  PREFIXD_RETURN_IF_ERROR(
      CheckRange("distance", recipe.distance, -kMaxRetentionDistance, kMaxRetentionDistance));
  std::string profile = FirstOf(request.profile, tenant.profile, defaults_.profile);
  // A default profile is for policies that take one.
  if (!request.profile && !recipe.policy->takes_profile()) profile.clear();
  if (!profile.empty()) {
    const auto found = profiles_.find(profile);
    if (found == profiles_.end()) {
      return Refused("profile", absl::StrCat("\"", profile, "\""),
                     absl::StrCat("known are [", absl::StrJoin(ProfileNames(), ", "), "]"));
    }
    if (!recipe.policy->takes_profile()) {
      return Refused("profile", absl::StrCat("\"", profile, "\""),
                     absl::StrCat("policy ", policy, " takes none"));
    }
    absl::StatusOr<std::vector<double>> ratios = found->second.At(recipe.forget_ratio());
    if (!ratios.ok())
      return Refused("budget", absl::StrCat(recipe.budget), ratios.status().message());
    recipe.layer_forget_ratios = *std::move(ratios);
  }
  if (state.scope == RetentionScope::kShared && recipe.policy->needs().decode) {
    return Refused("scope", "SHARED",
                   absl::StrCat("policy ", policy,
                                " goes on scoring while it decodes, so it has "
                                "no snapshots"));
  }
  state.receipt = {
      .scope = state.scope, .policy = policy, .profile = profile, .budget = recipe.budget};
  if (!state.on()) state.receipt = {};
  state.recipe_digest = RecipeDigest(recipe);
  return state;
}

std::vector<std::string> RetentionCatalogue::ProfileNames() const {
  std::vector<std::string> names;
  for (const auto& [name, profile] : profiles_) names.push_back(name);
  return names;
}

}  // namespace prefixd
