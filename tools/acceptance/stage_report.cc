#include "tools/acceptance/stage_report.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "base/json.h"

namespace prefixd::acceptance {
namespace {

using nlohmann::json;

constexpr const char* kOutcomes[] = {"passed", "failed", "skipped"};

const char* NameOf(Outcome outcome) { return kOutcomes[static_cast<int>(outcome)]; }

// A cell of a table: one line, no separator.
std::string Cell(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}});
}

void AppendTable(const Table& table, std::string* out) {
  absl::StrAppend(out, "\n", table.title, "\n\n|");
  for (const std::string& column : table.columns) absl::StrAppend(out, " ", Cell(column), " |");
  absl::StrAppend(out, "\n|");
  for (size_t i = 0; i < table.columns.size(); ++i) absl::StrAppend(out, "---|");
  absl::StrAppend(out, "\n");
  for (const std::vector<std::string>& row : table.rows) {
    absl::StrAppend(out, "|");
    for (const std::string& cell : row) absl::StrAppend(out, " ", Cell(cell), " |");
    absl::StrAppend(out, "\n");
  }
}

void AppendStage(const StageReport& stage, std::string* out) {
  absl::StrAppend(out, "\n## ", stage.stage, ": ", NameOf(stage.outcome), "\n");
  if (!stage.reason.empty()) absl::StrAppend(out, "\n", stage.reason, "\n");
  if (!stage.facts.empty()) absl::StrAppend(out, "\n");
  for (const auto& [name, value] : stage.facts) {
    absl::StrAppend(out, "- ", name, ": ", value, "\n");
  }
  if (!stage.flags.empty()) absl::StrAppend(out, "\nBelow the bar:\n\n");
  for (const std::string& flag : stage.flags) absl::StrAppend(out, "- ", flag, "\n");
  for (const Table& table : stage.tables) AppendTable(table, out);
}

StageReport Parse(const json& value) {
  StageReport report;
  report.stage = value.at("stage");
  const std::string outcome = value.at("outcome");
  bool known = false;
  for (const Outcome one : {Outcome::kPassed, Outcome::kFailed, Outcome::kSkipped}) {
    if (outcome != NameOf(one)) continue;
    report.outcome = one;
    known = true;
  }
  if (!known) throw std::invalid_argument("outcome");
  report.reason = value.at("reason");
  report.seconds = value.at("seconds");
  report.quick = value.at("quick");
  report.revision = value.at("revision");
  for (const json& fact : value.at("facts")) {
    report.facts.emplace_back(fact.at(0).get<std::string>(), fact.at(1).get<std::string>());
  }
  report.numbers = value.at("numbers").get<std::map<std::string, double>>();
  for (const json& table : value.at("tables")) {
    report.tables.push_back({table.at("title"), table.at("columns").get<std::vector<std::string>>(),
                             table.at("rows").get<std::vector<std::vector<std::string>>>()});
  }
  report.flags = value.at("flags").get<std::vector<std::string>>();
  return report;
}

}  // namespace

void StageReport::Fail(absl::string_view why) {
  if (outcome != Outcome::kFailed) reason = std::string(why);
  outcome = Outcome::kFailed;
}

void StageReport::FailUnless(const absl::Status& status) {
  if (!status.ok()) Fail(status.message());
}

std::string ToJson(const StageReport& report) {
  json value = {{"stage", report.stage},   {"outcome", NameOf(report.outcome)},
                {"reason", report.reason}, {"seconds", report.seconds},
                {"quick", report.quick},   {"revision", report.revision},
                {"facts", json::array()},  {"numbers", report.numbers},
                {"tables", json::array()}, {"flags", report.flags}};
  for (const auto& [name, fact] : report.facts) {
    value["facts"].push_back(json::array({name, fact}));
  }
  for (const Table& table : report.tables) {
    value["tables"].push_back(
        {{"title", table.title}, {"columns", table.columns}, {"rows", table.rows}});
  }
  return value.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

absl::StatusOr<StageReport> FromJson(absl::string_view text) {
  absl::StatusOr<json> value = ParseJson(text);
  if (!value.ok()) return value.status();
  try {
    return Parse(*value);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("not the report of a stage: ", error.what()));
  }
}

std::string RenderReport(absl::Span<const StageReport> stages) {
  std::string out =
      "# GPU acceptance\n\n| stage | outcome | seconds | below the bar | "
      "|\n|---|---|---|---|---|\n";
  int failed = 0;
  bool quick = false;
  for (const StageReport& stage : stages) {
    failed += stage.outcome == Outcome::kFailed;
    quick |= stage.quick;
    absl::StrAppendFormat(&out, "| %s | %s | %.1f | %d | %s |\n", stage.stage,
                          NameOf(stage.outcome), stage.seconds, stage.flags.size(),
                          Cell(stage.reason));
  }
  absl::StrAppend(&out, "\n", failed, failed == 1 ? " stage" : " stages", " failed.",
                  quick ? " Some ran in the quick form: fewer shapes, shorter runs." : "", "\n");
  for (const StageReport& stage : stages) AppendStage(stage, &out);
  return out;
}

}  // namespace prefixd::acceptance
