// Which stages run, what is kept of earlier runs, and the files of an acceptance:
// OUT/<stage>.json, OUT/<stage>.log and OUT/report.md.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_STAGE_RUNNER_H_
#define PREFIXD_TOOLS_ACCEPTANCE_STAGE_RUNNER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tools/acceptance/stage_report.h"

namespace prefixd::acceptance {

inline constexpr int kStageSeconds = 600;  // No stage may take longer.

struct RunOptions {
  std::string stage = "all";  // Or the name of one.
  bool quick = false;
  bool fresh = false;    // Also stages that have passed.
  std::string out;       // Directory; made if missing.
  std::string revision;  // Of the sources.
};

// In the order in which they run.
const std::vector<std::string>& StageNames();

std::string ReportPath(const RunOptions& options, const std::string& stage);
// The report that an earlier run left. Errors: NOT_FOUND, INVALID_ARGUMENT.
absl::StatusOr<StageReport> ReadReport(const RunOptions& options, const std::string& stage);
absl::Status WriteReport(const RunOptions& options, const StageReport& report);

// Whether it can be left out: it passed, with these sources, in no quicker form than is asked for,
// and neither --stage nor --fresh asks for it.
bool IsDone(const RunOptions& options, const StageReport& report);

// Runs the stages that are asked for and not done; `run` computes a stage's report. After each, its
// JSON and the report over all stages that there are so far are written. Returns the number of
// stages asked for that failed, at most 100. Errors: INVALID_ARGUMENT for an unknown stage, or
// what writing says.
absl::StatusOr<int> RunStages(const RunOptions& options,
                              const std::function<StageReport(const std::string& stage)>& run);

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_STAGE_RUNNER_H_
