#include "client/prefixctl/retention_options.h"

#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace prefixd::ctl {
namespace {

std::optional<v1::RetentionScope> ScopeOf(absl::string_view name) {
  if (name == "off") return v1::RETENTION_SCOPE_OFF;
  if (name == "exact") return v1::RETENTION_SCOPE_EXACT;
  if (name == "shared") return v1::RETENTION_SCOPE_SHARED;
  return std::nullopt;
}

void SetText(absl::string_view value, std::optional<std::string>* setting) {
  setting->reset();
  if (!value.empty()) *setting = std::string(value);
}

}  // namespace

void AddRetentionOptions(CLI::App* command, Retention* retention) {
  command
      ->add_option("--retention", retention->scope,
                   "What is compressed: off, exact (the whole prompt) or shared (its prefix)")
      ->type_name("SCOPE")
      ->check([](const std::string& text) {
        return ScopeOf(text) ? std::string() : "expected off, exact or shared, not " + text;
      });
  command->add_option("--budget", retention->budget, "Share of the KV to keep, 0.001 to 1")
      ->type_name("SHARE");
  command
      ->add_option("--policy", retention->policy,
                   "What chooses the tokens (`prefixctl models show` lists them)")
      ->type_name("NAME");
  command
      ->add_option("--profile", retention->profile,
                   "Offline profile; \"\": the prompt's own scores")
      ->type_name("NAME");
}

bool IsRetentionSetting(absl::string_view name) {
  return name == "retention" || name == "budget" || name == "policy" || name == "profile";
}

absl::Status SetRetention(absl::string_view name, absl::string_view value, Retention* retention) {
  if (name == "policy") {
    SetText(value, &retention->policy);
  } else if (name == "profile") {
    SetText(value, &retention->profile);
  } else if (name == "retention") {
    if (!value.empty() && !ScopeOf(value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("retention: \"", value, "\" is none of off, exact and shared"));
    }
    SetText(value, &retention->scope);
  } else if (value.empty()) {
    retention->budget.reset();
  } else {
    double budget = 0;
    if (!absl::SimpleAtod(value, &budget)) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": \"", value, "\" is not a number"));
    }
    retention->budget = budget;
  }
  return absl::OkStatus();
}

void Apply(const Retention& retention, v1::GenerateRequest* request) {
  const std::optional<v1::RetentionScope> scope =
      retention.scope ? ScopeOf(*retention.scope) : std::nullopt;
  if (scope) request->mutable_retention()->set_scope(*scope);
  if (retention.budget) request->mutable_retention()->set_budget(*retention.budget);
  if (retention.policy) request->mutable_retention()->set_policy(*retention.policy);
  if (retention.profile) request->mutable_retention()->set_profile(*retention.profile);
}

}  // namespace prefixd::ctl
