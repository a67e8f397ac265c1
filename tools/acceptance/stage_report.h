// What one stage of the GPU acceptance found, as a value, as JSON and as Markdown.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_STAGE_REPORT_H_
#define PREFIXD_TOOLS_ACCEPTANCE_STAGE_REPORT_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace prefixd::acceptance {

struct Table {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

enum class Outcome { kPassed, kFailed, kSkipped };

struct StageReport {
  std::string stage;
  Outcome outcome = Outcome::kPassed;
  std::string reason;    // Of a failure or a skip: one line.
  double seconds = 0;    // That the stage took.
  bool quick = false;    // Fewer shapes, shorter runs.
  std::string revision;  // Of the sources it was built from.
  std::vector<std::pair<std::string, std::string>> facts;
  std::map<std::string, double> numbers;  // Facts that later stages read.
  std::vector<Table> tables;
  std::vector<std::string> flags;  // What is slower than its bar; no failure.

  // Keeps the first reason.
  void Fail(absl::string_view why);
  void FailUnless(const absl::Status& status);
};

std::string ToJson(const StageReport& report);
// Errors: INVALID_ARGUMENT.
absl::StatusOr<StageReport> FromJson(absl::string_view text);

std::string RenderReport(absl::Span<const StageReport> stages);

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_STAGE_REPORT_H_
