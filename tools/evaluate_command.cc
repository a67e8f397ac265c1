#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "cache/retention/policy.h"
#include "tools/chart.h"
#include "tools/commands.h"
#include "tools/evaluation.h"
#include "tools/progress.h"
#include "tools/report.h"

namespace prefixd::tools {
namespace {

// A policy of this name keeps everything: the line of the full cache says the same.
constexpr char kKeepsAll[] = "full";

std::vector<std::string> AllPolicies() {
  std::vector<std::string> names;
  for (const RetentionPolicy* policy : RetentionPolicies()) {
    if (policy->name() != kKeepsAll) names.emplace_back(policy->name());
  }
  return names;
}

// Every policy at every budget. Errors: INVALID_ARGUMENT naming the policy and those there are.
absl::StatusOr<std::vector<RetentionSetting>> Settings(const Options& options) {
  std::vector<RetentionSetting> settings;
  if (options.full_only) return settings;
  const std::vector<std::string> typed =
      options.policies.empty() ? AllPolicies() : options.policies;
  for (const std::string& text : typed) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('@', 1));
    const RetentionPolicy* const policy = FindRetentionPolicy(parts.first);
    if (policy == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("--policies: no policy \"", parts.first,
                                                     "\"; there are ",
                                                     absl::StrJoin(AllPolicies(), ", ")));
    }
    if (!parts.second.empty() && !policy->takes_profile()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--policies: ", parts.first, " takes no profile"));
    }
    for (const double budget : options.budgets) {
      settings.push_back({.policy = parts.first, .profile = parts.second, .budget = budget});
    }
  }
  return settings;
}

EvaluationSettings Describe(const Options& options, const Workbench& bench) {
  const EngineModelInfo& model = bench.engine->model_info();
  const EngineRuntimeInfo& runtime = bench.engine->runtime_info();
  return {.command = options.command_line,
          .model = model.name,
          .model_digest = model.digest,
          .family = model.family,
          .num_layers = model.num_layers,
          .backend = runtime.backend,
          .kv_dtype = runtime.kv_dtype,
          .dataset = options.data.path,
          .dataset_digest = bench.data.digest,
          .samples = bench.data.samples.size(),
          .max_new_tokens = options.max_new_tokens,
          .start_size = options.engine.retention_start_size,
          .protect = options.engine.retention_protect,
          .distance = options.engine.retention_distance};
}

}  // namespace

absl::Status RunEvaluate(const Options& options) {
  PREFIXD_ASSIGN_OR_RETURN(const std::vector<RetentionSetting> settings, Settings(options));
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<Workbench> bench, SetUp(options));
  Evaluation evaluation;
  {
    Progress progress = StderrProgress("evaluate", &bench->clock);
    PREFIXD_ASSIGN_OR_RETURN(
        evaluation, Evaluate(bench->data.samples.size(), settings, bench->measurer.get(),
                             [&](size_t done, size_t total) { progress.Update(done, total); }));
  }
  const EvaluationSettings described = Describe(options, *bench);
  PREFIXD_RETURN_IF_ERROR(WriteOutput(options, "results.csv", ReportCsv(evaluation)));
  PREFIXD_RETURN_IF_ERROR(WriteOutput(options, "results.json", ReportJson(evaluation, described)));
  PREFIXD_RETURN_IF_ERROR(WriteOutput(options, "chart.svg", ChartSvg(evaluation)));
  return WriteOutput(options, "report.md", ReportMarkdown(evaluation, described));
}

}  // namespace prefixd::tools
