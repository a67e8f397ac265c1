#include "tools/acceptance/stage_runner.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status_macros.h"

namespace prefixd::acceptance {
namespace {

constexpr size_t kMaxReportBytes = 16 << 20;
constexpr int kMostFailures = 100;

absl::Status WriteText(const std::string& path, const std::string& text) {
  return WriteFileAtomically(
      path, absl::MakeConstSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

absl::Status WriteMarkdown(const RunOptions& options) {
  std::vector<StageReport> reports;
  for (const std::string& stage : StageNames()) {
    absl::StatusOr<StageReport> report = ReadReport(options, stage);
    if (report.ok()) reports.push_back(*std::move(report));
  }
  return WriteText(absl::StrCat(options.out, "/report.md"), RenderReport(reports));
}

void Tell(const StageReport& report, bool ran) {
  const char* const outcome = report.outcome == Outcome::kFailed    ? "failed"
                              : report.outcome == Outcome::kSkipped ? "skipped"
                                                                    : "passed";
  std::printf("%-10s %s%s%s%s\n", report.stage.c_str(), outcome, ran ? "" : " before",
              report.reason.empty() ? "" : ": ", report.reason.c_str());
  std::fflush(stdout);
}

}  // namespace

const std::vector<std::string>& StageNames() {
  static const auto* const kNames =
      new std::vector<std::string>{"env",    "ceilings", "kernels",  "sanitize", "roofline",
                                   "engine", "e2e",      "prefixkv", "soak",     "profile"};
  return *kNames;
}

std::string ReportPath(const RunOptions& options, const std::string& stage) {
  return absl::StrCat(options.out, "/", stage, ".json");
}

absl::StatusOr<StageReport> ReadReport(const RunOptions& options, const std::string& stage) {
  PREFIXD_ASSIGN_OR_RETURN(const std::string text,
                           ReadFile(ReportPath(options, stage), kMaxReportBytes));
  return FromJson(text);
}

absl::Status WriteReport(const RunOptions& options, const StageReport& report) {
  return WriteText(ReportPath(options, report.stage), ToJson(report));
}

bool IsDone(const RunOptions& options, const StageReport& report) {
  return report.outcome == Outcome::kPassed && !options.fresh && options.stage == "all" &&
         report.revision == options.revision && (options.quick || !report.quick);
}

absl::StatusOr<int> RunStages(const RunOptions& options,
                              const std::function<StageReport(const std::string& stage)>& run) {
  const std::vector<std::string>& all = StageNames();
  if (options.stage != "all" && std::find(all.begin(), all.end(), options.stage) == all.end()) {
    return absl::InvalidArgumentError(absl::StrCat("there is no stage \"", options.stage,
                                                   "\"; known: all, ", absl::StrJoin(all, ", ")));
  }
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.out, ": cannot make the directory: ", error.message()));
  }
  int failures = 0;
  for (const std::string& stage : all) {
    if (options.stage != "all" && options.stage != stage) continue;
    if (const auto before = ReadReport(options, stage); before.ok() && IsDone(options, *before)) {
      Tell(*before, false);
      continue;
    }
    StageReport report = run(stage);
    report.stage = stage;
    report.quick = options.quick;
    report.revision = options.revision;
    Tell(report, true);
    failures += report.outcome == Outcome::kFailed;
    PREFIXD_RETURN_IF_ERROR(WriteReport(options, report));
    PREFIXD_RETURN_IF_ERROR(WriteMarkdown(options));
  }
  return std::min(failures, kMostFailures);
}

}  // namespace prefixd::acceptance
