// An evaluation as files for people and programs: a Markdown report, CSV and JSON. Pure texts; the
// chart is chart.h. docs/evaluation.md explains the columns.
#ifndef PREFIXD_TOOLS_REPORT_H_
#define PREFIXD_TOOLS_REPORT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "tools/evaluation.h"

namespace prefixd {

// What the numbers depend on.
struct EvaluationSettings {
  std::string command;  // That makes them again.
  std::string model, model_digest, family;
  int num_layers = 0;
  std::string backend, kv_dtype;
  std::string dataset, dataset_digest;
  size_t samples = 0;
  int32_t max_new_tokens = 0;
  int32_t start_size = 0, protect = 0, distance = 0;
};

// "prefixkv", "prefixkv@cats": how reports name what a setting is beside its budget.
std::string PolicyLabel(const RetentionSetting& setting);

// The rows of one label, in ascending order of their budgets.
struct PolicyRows {
  std::string label;
  std::vector<const EvaluationRow*> rows;
};
// In order of first appearance. Pointers into `evaluation`.
std::vector<PolicyRows> RowsByPolicy(const Evaluation& evaluation);

// A header, the full cache, then a line a row. Numbers read back to the same doubles; what is not
// finite is inf or nan.
std::string ReportCsv(const Evaluation& evaluation);

// An object; what is not finite is null.
std::string ReportJson(const Evaluation& evaluation, const EvaluationSettings& settings);

// Tables of policies and budgets, and the settings. Shows chart.svg, which must lie beside it.
std::string ReportMarkdown(const Evaluation& evaluation, const EvaluationSettings& settings);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_REPORT_H_
