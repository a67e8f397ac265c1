#include "engine/validate_retention.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "cache/retention/policy.h"
#include "engine/error_reasons.h"
#include "engine/retention_limits.h"

namespace prefixd {
namespace {

// A number that may be set, and its closed range. `field` stands after "retention_" in the name of
// an option, and after "retention." in that of a tenant's.
struct Number {
  absl::string_view field;
  double value, low, high;
};

// Names what is wrong: an option, or a tenant and its key.
class Place {
 public:
  explicit Place(const TenantOptions* tenant) : tenant_(tenant) {}

  std::string Name(absl::string_view field) const {
    return tenant_ != nullptr ? absl::StrCat("tenant \"", tenant_->name, "\": retention.", field)
           : field == "scope" ? "retention"
                              : absl::StrCat("retention_", field);
  }
  absl::Status Fail(absl::string_view field, absl::string_view value, absl::string_view why) const {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat(Name(field), " is ", value, ", ", why),
                     {{"option", tenant_ != nullptr ? "tenants" : Name(field)}});
  }
  absl::Status CheckNumber(const Number& number) const {
    // Written so that NaN is outside.
    if (number.value >= number.low && number.value <= number.high) return absl::OkStatus();
    return Fail(number.field, absl::StrCat(number.value),
                absl::StrCat("the range is [", number.low, ", ", number.high, "]"));
  }
  absl::Status CheckPolicy(absl::string_view name) const {
    if (FindRetentionPolicy(name) != nullptr) return absl::OkStatus();
    return Fail("policy", Quoted(name), absl::StrCat("known are ", RetentionPolicyNames()));
  }
  absl::Status CheckProfile(absl::string_view name, const EngineOptions& options) const {
    if (name.empty()) return absl::OkStatus();
    if (!IsProfileName(name)) {
      return Fail("profile", Quoted(name),
                  "the name of a profile has 1..64 characters of [A-Za-z0-9._-]");
    }
    if (options.retention_profiles.empty()) {
      return Fail("profile", Quoted(name), "but retention_profiles, its directory, is not set");
    }
    return absl::OkStatus();
  }

 private:
  static std::string Quoted(absl::string_view text) {
    return absl::StrCat("\"", text.substr(0, kMaxRetentionNameBytes), "\"");
  }

  const TenantOptions* const tenant_;
};

absl::Status CheckGuard(const EngineOptions& options) {
  const auto fail = [](absl::string_view name, double value, absl::string_view range) {
    return MakeError(absl::StatusCode::kInvalidArgument, reason::kParameterOutOfRange,
                     absl::StrCat(name, " is ", value, ", the range is ", range),
                     {{"option", std::string(name)}});
  };
  if (!(options.guard_sample_rate >= 0 && options.guard_sample_rate <= 1)) {
    return fail("guard_sample_rate", options.guard_sample_rate, "[0, 1]");
  }
  if (!(options.guard_min_agreement >= 0 && options.guard_min_agreement <= 1)) {
    return fail("guard_min_agreement", options.guard_min_agreement, "[0, 1]");
  }
  if (!(options.guard_max_drift > 0 && options.guard_max_drift <= kMaxGuardDrift)) {
    return fail("guard_max_drift", options.guard_max_drift,
                absl::StrCat("(0, ", kMaxGuardDrift, "]"));
  }
  if (!(options.guard_budget_step > 0 && options.guard_budget_step <= 1)) {
    return fail("guard_budget_step", options.guard_budget_step, "(0, 1]");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateRetention(const EngineOptions& options) {
  const Place place(nullptr);
  if (options.retention != "off" && options.retention != "exact" && options.retention != "shared") {
    return place.Fail("scope", absl::StrCat("\"", options.retention.substr(0, 64), "\""),
                      "allowed: off, exact, shared");
  }
  for (const Number& number :
       {Number{"budget", options.retention_budget, kMinRetentionBudget, 1},
        Number{"start_size", static_cast<double>(options.retention_start_size), 0,
               kMaxRetentionStartSize},
        Number{"protect", static_cast<double>(options.retention_protect), 1, kMaxRetentionProtect},
        Number{"distance", static_cast<double>(options.retention_distance), -kMaxRetentionDistance,
               kMaxRetentionDistance}}) {
    PREFIXD_RETURN_IF_ERROR(place.CheckNumber(number));
  }
  PREFIXD_RETURN_IF_ERROR(place.CheckPolicy(options.retention_policy));
  PREFIXD_RETURN_IF_ERROR(place.CheckProfile(options.retention_profile, options));
  return CheckGuard(options);
}

absl::Status ValidateRetention(const EngineOptions& options, const TenantOptions& tenant) {
  const Place place(&tenant);
  const RetentionParams& params = tenant.retention;
  for (const Number& number :
       {Number{"budget", params.budget.value_or(1), kMinRetentionBudget, 1},
        Number{"start_size", static_cast<double>(params.start_size.value_or(0)), 0,
               kMaxRetentionStartSize},
        Number{"protect", static_cast<double>(params.protect.value_or(1)), 1, kMaxRetentionProtect},
        Number{"distance", static_cast<double>(params.distance.value_or(0)), -kMaxRetentionDistance,
               kMaxRetentionDistance}}) {
    PREFIXD_RETURN_IF_ERROR(place.CheckNumber(number));
  }
  if (params.policy) PREFIXD_RETURN_IF_ERROR(place.CheckPolicy(*params.policy));
  return place.CheckProfile(params.profile.value_or(""), options);
}

}  // namespace prefixd
