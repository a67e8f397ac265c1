#include "server/tenant_retention.h"

#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/retention_limits.h"
#include "server/yaml_fields.h"

namespace prefixd {
namespace {

// In the order of RetentionScope.
constexpr absl::string_view kScopes[] = {"off", "exact", "shared"};

struct IntegerKey {
  const char* key;
  std::optional<int32_t> RetentionParams::*field;
  int32_t low, high;
};
constexpr IntegerKey kIntegerKeys[] = {
    {"start_size", &RetentionParams::start_size, 0, kMaxRetentionStartSize},
    {"protect", &RetentionParams::protect, 1, kMaxRetentionProtect},
    {"distance", &RetentionParams::distance, -kMaxRetentionDistance, kMaxRetentionDistance},
};

absl::StatusOr<RetentionScope> ReadScope(absl::string_view name, const YamlNode& node) {
  for (size_t i = 0; i < std::size(kScopes); ++i) {
    if (node.kind == YamlNode::Kind::kScalar && node.scalar == kScopes[i]) {
      return static_cast<RetentionScope>(i);
    }
  }
  return YamlError(
      name, node.line,
      absl::StrCat("scope: `", node.scalar.substr(0, 64), "` is none of off, exact, shared"));
}

absl::StatusOr<std::string> ReadName(absl::string_view name, absl::string_view key,
                                     const YamlNode& node, bool (*is_name)(absl::string_view),
                                     absl::string_view form) {
  if (node.kind == YamlNode::Kind::kScalar && is_name(node.scalar)) return node.scalar;
  return YamlError(name, node.line, absl::StrCat(key, ": a name has 1..64 characters of ", form));
}

bool IsProfileNameOrEmpty(absl::string_view name) { return name.empty() || IsProfileName(name); }

template <typename Value>
std::string Show(const std::optional<Value>& value) {
  return value ? absl::StrCat(*value) : "unset";
}

// "KEY is NOW, was BEFORE", or empty if they are equal.
template <typename Value>
std::string Difference(absl::string_view key, const std::optional<Value>& now,
                       const std::optional<Value>& before) {
  if (now == before) return "";
  return absl::StrCat(key, " is ", Show(now), ", was ", Show(before));
}

std::optional<absl::string_view> ScopeName(const std::optional<RetentionScope>& scope) {
  if (!scope) return std::nullopt;
  return kScopes[static_cast<size_t>(*scope)];
}

}  // namespace

absl::StatusOr<RetentionParams> ReadTenantRetention(absl::string_view name, const YamlNode& node) {
  std::vector<std::string> known = {"scope", "budget", "policy", "profile"};
  for (const IntegerKey& spec : kIntegerKeys) known.emplace_back(spec.key);
  PREFIXD_RETURN_IF_ERROR(CheckYamlKeys(name, node, "retention", known));
  RetentionParams params;
  if (const YamlNode* scope = FindYamlChild(node, "scope"); scope != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(params.scope, ReadScope(name, *scope));
  }
  if (const YamlNode* budget = FindYamlChild(node, "budget"); budget != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(
        params.budget,
        ReadYamlNumber(name, *budget, {.key = "budget", .low = kMinRetentionBudget, .high = 1}));
  }
  if (const YamlNode* policy = FindYamlChild(node, "policy"); policy != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(params.policy,
                             ReadName(name, "policy", *policy, &IsPolicyName, "[a-z0-9-]"));
  }
  if (const YamlNode* profile = FindYamlChild(node, "profile"); profile != nullptr) {
    PREFIXD_ASSIGN_OR_RETURN(params.profile, ReadName(name, "profile", *profile,
                                                      &IsProfileNameOrEmpty, "[A-Za-z0-9._-]"));
  }
  for (const IntegerKey& spec : kIntegerKeys) {
    const YamlNode* const value = FindYamlChild(node, spec.key);
    if (value == nullptr) continue;
    PREFIXD_ASSIGN_OR_RETURN(const double number,
                             ReadYamlNumber(name, *value,
                                            {.key = spec.key,
                                             .low = static_cast<double>(spec.low),
                                             .high = static_cast<double>(spec.high),
                                             .integer = true}));
    params.*spec.field = static_cast<int32_t>(number);
  }
  return params;
}

std::string RetentionDifference(const RetentionParams& now, const RetentionParams& before) {
  std::vector<std::string> differences = {
      Difference("scope", ScopeName(now.scope), ScopeName(before.scope)),
      Difference("budget", now.budget, before.budget),
      Difference("policy", now.policy, before.policy),
      Difference("profile", now.profile, before.profile),
  };
  for (const IntegerKey& spec : kIntegerKeys) {
    differences.push_back(Difference(spec.key, now.*spec.field, before.*spec.field));
  }
  for (std::string& difference : differences) {
    if (!difference.empty()) return std::move(difference);
  }
  return "";
}

}  // namespace prefixd
