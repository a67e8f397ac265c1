#include "tools/report.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace prefixd {
namespace {

using nlohmann::json;

constexpr char kFullLabel[] = "full cache";

// Digits enough to read the same number back.
std::string Exact(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  return json(value).dump();
}

std::string CsvText(const std::string& text) {
  if (text.find_first_of("\",\n\r") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string CsvLine(const EvaluationRow& row) {
  const RetentionSetting& setting = row.setting;
  return absl::StrJoin({CsvText(setting.full() ? "full" : setting.policy), CsvText(setting.profile),
                        Exact(setting.budget), Exact(row.perplexity), Exact(row.rouge_l),
                        Exact(row.kept_share), Exact(row.score_mass), Exact(row.agreement),
                        absl::StrCat(row.answer_tokens), absl::StrCat(row.generated_tokens)},
                       ",");
}

json RowJson(const EvaluationRow& row) {
  return {{"policy", row.setting.full() ? "full" : row.setting.policy},
          {"profile", row.setting.profile},
          {"budget", row.setting.budget},
          {"perplexity", row.perplexity},
          {"rouge_l", row.rouge_l},
          {"kept_share", row.kept_share},
          {"kept_by_layer", row.kept_by_layer},
          {"score_mass", row.score_mass},
          {"agreement", row.agreement},
          {"answer_tokens", row.answer_tokens},
          {"generated_tokens", row.generated_tokens}};
}

// Three or four digits.
std::string Short(double value) {
  if (!std::isfinite(value)) return Exact(value);
  if (value < 10) return absl::StrFormat("%.3f", value);
  if (value < 100) return absl::StrFormat("%.2f", value);
  if (value < 10000) return absl::StrFormat("%.0f", value);
  return absl::StrFormat("%.3g", value);
}

std::string Percent(double budget) { return absl::StrFormat("%g %%", budget * 100); }

std::string MarkdownText(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}});
}

std::string Table(const Evaluation& evaluation, double EvaluationRow::*number) {
  std::set<double> budgets;
  for (const EvaluationRow& row : evaluation.rows) budgets.insert(row.setting.budget);
  std::string text = "| budget |";
  for (const double budget : budgets) absl::StrAppend(&text, " ", Percent(budget), " |");
  absl::StrAppend(&text, " full |\n|---|");
  for (size_t i = 0; i <= budgets.size(); ++i) absl::StrAppend(&text, "---|");
  const std::string full = Short(evaluation.full.*number);
  const auto add_line = [&](const std::string& label,
                            const std::vector<const EvaluationRow*>& rows) {
    absl::StrAppend(&text, "\n| ", MarkdownText(label), " |");
    for (const double budget : budgets) {
      const auto found = std::find_if(rows.begin(), rows.end(), [budget](const auto* row) {
        return row->setting.budget == budget;
      });
      absl::StrAppend(&text, " ", found == rows.end() ? "" : Short((*found)->*number), " |");
    }
    absl::StrAppend(&text, " ", full, " |");
  };
  for (const PolicyRows& policy : RowsByPolicy(evaluation)) add_line(policy.label, policy.rows);
  add_line(kFullLabel, {});
  return absl::StrCat(text, "\n");
}

std::string SettingsTable(const Evaluation& evaluation, const EvaluationSettings& settings) {
  const std::vector<std::pair<std::string, std::string>> lines = {
      {"command", absl::StrCat("`", settings.command, "`")},
      {"model",
       absl::StrCat(settings.model, " (", settings.family, ", ", settings.num_layers, " layers)")},
      {"model's digest", absl::StrCat("`", settings.model_digest, "`")},
      {"backend", absl::StrCat(settings.backend, ", KV in ", settings.kv_dtype)},
      {"data", settings.dataset},
      {"data's digest", absl::StrCat("`", settings.dataset_digest, "`")},
      {"samples", absl::StrCat(settings.samples, ", ", evaluation.full.answer_tokens,
                               " tokens of reference answers")},
      {"greedy answers", absl::StrCat("at most ", settings.max_new_tokens, " tokens")},
      {"always kept",
       absl::StrCat("the first ", settings.start_size, " and the last ", settings.protect,
                    " tokens of the prompt; distance ", settings.distance)},
      {"program", absl::StrCat("prefixd-tools ", PREFIXD_VERSION)}};
  std::string text = "| setting | value |\n|---|---|\n";
  for (const auto& [name, value] : lines) {
    absl::StrAppend(&text, "| ", name, " | ", MarkdownText(value), " |\n");
  }
  return text;
}

}  // namespace

std::string PolicyLabel(const RetentionSetting& setting) {
  if (setting.full()) return kFullLabel;
  return setting.profile.empty() ? setting.policy
                                 : absl::StrCat(setting.policy, "@", setting.profile);
}

std::vector<PolicyRows> RowsByPolicy(const Evaluation& evaluation) {
  std::vector<PolicyRows> policies;
  for (const EvaluationRow& row : evaluation.rows) {
    const std::string label = PolicyLabel(row.setting);
    auto found = std::find_if(policies.begin(), policies.end(),
                              [&label](const PolicyRows& rows) { return rows.label == label; });
    if (found == policies.end()) found = policies.insert(found, {.label = label});
    found->rows.push_back(&row);
  }
  for (PolicyRows& policy : policies) {
    std::stable_sort(policy.rows.begin(), policy.rows.end(), [](const auto* a, const auto* b) {
      return a->setting.budget < b->setting.budget;
    });
  }
  return policies;
}

std::string ReportCsv(const Evaluation& evaluation) {
  std::string text =
      "policy,profile,budget,perplexity,rouge_l,kept_share,score_mass,agreement,answer_tokens,"
      "generated_tokens\n";
  absl::StrAppend(&text, CsvLine(evaluation.full), "\n");
  for (const EvaluationRow& row : evaluation.rows) absl::StrAppend(&text, CsvLine(row), "\n");
  return text;
}

std::string ReportJson(const Evaluation& evaluation, const EvaluationSettings& settings) {
  json rows = json::array();
  for (const EvaluationRow& row : evaluation.rows) rows.push_back(RowJson(row));
  const json report = {{"format", 1},
                       {"program", absl::StrCat("prefixd-tools ", PREFIXD_VERSION)},
                       {"command", settings.command},
                       {"model",
                        {{"name", settings.model},
                         {"digest", settings.model_digest},
                         {"family", settings.family},
                         {"layers", settings.num_layers},
                         {"backend", settings.backend},
                         {"kv_dtype", settings.kv_dtype}}},
                       {"dataset",
                        {{"path", settings.dataset},
                         {"sha256", settings.dataset_digest},
                         {"samples", settings.samples}}},
                       {"settings",
                        {{"max_new_tokens", settings.max_new_tokens},
                         {"start_size", settings.start_size},
                         {"protect", settings.protect},
                         {"distance", settings.distance}}},
                       {"full", RowJson(evaluation.full)},
                       {"rows", rows}};
  // Paths need not be valid UTF-8.
  return absl::StrCat(report.dump(1, ' ', false, json::error_handler_t::replace), "\n");
}

std::string ReportMarkdown(const Evaluation& evaluation, const EvaluationSettings& settings) {
  std::string text = absl::StrCat(
      "# What a KV budget costs: ", MarkdownText(settings.model), "\n\n",
      "Budget: share of the prompt's KV that is kept, all layers together. What each number means "
      "is said in docs/evaluation.md.\n\n",
      "![Perplexity and ROUGE-L by budget](chart.svg)\n");
  const struct {
    const char* title;
    double EvaluationRow::*number;
  } tables[] = {
      {"Perplexity of the reference answers (lower is better)", &EvaluationRow::perplexity},
      {"ROUGE-L of the greedy answers against those of the full cache (higher is better)",
       &EvaluationRow::rouge_l},
      {"Agreement of the most likely token with that of the full cache", &EvaluationRow::agreement},
      {"Share kept, measured", &EvaluationRow::kept_share},
      {"Share of the policy's scores that was kept", &EvaluationRow::score_mass}};
  for (const auto& table : tables) {
    absl::StrAppend(&text, "\n## ", table.title, "\n\n", Table(evaluation, table.number));
  }
  absl::StrAppend(&text, "\n## Settings\n\n", SettingsTable(evaluation, settings));
  return text;
}

}  // namespace prefixd
