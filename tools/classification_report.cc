#include "tools/classification_report.h"

#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace prefixd {
namespace {

using nlohmann::ordered_json;
using Line = std::pair<std::string, std::string>;

constexpr size_t kWorstClasses = 20;
constexpr size_t kMistakes = 3;  // Of a class.

std::string Percent(double share) { return absl::StrFormat("%.2f %%", share * 100); }

std::string MarkdownText(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", "\\n"}});
}

std::string Table(const std::string& left, const std::string& right,
                  const std::vector<Line>& lines) {
  std::string text = absl::StrCat("| ", left, " | ", right, " |\n|---|---|\n");
  for (const auto& [name, value] : lines) {
    absl::StrAppend(&text, "| ", MarkdownText(name), " | ", MarkdownText(value), " |\n");
  }
  return text;
}

std::string Numbers(const ClassificationReport& report) {
  const ClassificationSummary& summary = report.summary;
  std::vector<Line> lines = {{"pictures", absl::StrCat(summary.samples)},
                             {"accuracy, top 1", Percent(summary.top1)}};
  if (report.names.size() > 5) lines.emplace_back("accuracy, top 5", Percent(summary.top5));
  lines.emplace_back("mean rank of the label",
                     absl::StrFormat("%.3f of %d", summary.mean_rank, report.names.size()));
  if (summary.roc_auc.has_value()) {
    const std::string& positive = report.names[static_cast<size_t>(PositiveOf(report.names))];
    lines.emplace_back(absl::StrCat("ROC-AUC (positive: ", positive, ")"),
                       absl::StrFormat("%.4f", *summary.roc_auc));
  }
  return Table("what", "value", lines);
}

std::string WorstClasses(const ClassificationReport& report) {
  std::string text = "| class | pictures | correct | taken for |\n|---|---|---|---|\n";
  const std::vector<ClassOutcome>& outcomes = report.summary.outcomes;
  for (size_t i = 0; i < std::min(outcomes.size(), kWorstClasses); ++i) {
    const ClassOutcome& outcome = outcomes[i];
    absl::StrAppend(&text, "| ", MarkdownText(report.names[static_cast<size_t>(outcome.label)]),
                    " | ", outcome.samples, " | ", Percent(outcome.accuracy()), " |");
    const char* separator = " ";
    for (size_t m = 0; m < std::min(outcome.mistaken_for.size(), kMistakes); ++m) {
      const auto& [label, count] = outcome.mistaken_for[m];
      absl::StrAppend(&text, separator, MarkdownText(report.names[static_cast<size_t>(label)]),
                      " (", count, ")");
      separator = ", ";
    }
    absl::StrAppend(&text, " |\n");
  }
  return text;
}

std::string Times(const ClassificationSummary& summary) {
  std::string text = "| ms | median | 95 % | longest |\n|---|---|---|---|\n";
  const std::pair<const char*, const ClassificationSummary::Times*> lines[] = {
      {"waiting", &summary.queue}, {"context", &summary.prefill}, {"whole", &summary.total}};
  for (const auto& [name, times] : lines) {
    absl::StrAppend(&text, absl::StrFormat("| %s | %.1f | %.1f | %.1f |\n", name, times->median,
                                           times->p95, times->max));
  }
  return text;
}

std::string Receipts(const ClassificationRecord& sums) {
  return Table("receipts, all pictures together", "value",
               {{"prompt tokens", absl::StrCat(sums.prompt_tokens)},
                {"of these from the cache", absl::StrCat(sums.hit_tokens)},
                {"pictures encoded", absl::StrCat(sums.images_encoded)},
                {"contexts", absl::StrCat(sums.contexts)},
                {"contexts found whole", absl::StrCat(sums.context_hits)},
                {"rows computed for names", absl::StrCat(sums.computed_rows)},
                {"rows saved for names", absl::StrCat(sums.saved_rows)},
                {"passes", absl::StrCat(sums.passes)}});
}

ordered_json TimesJson(const ClassificationSummary::Times& times) {
  return {{"median", times.median}, {"p95", times.p95}, {"max", times.max}};
}

ordered_json ClassesJson(const ClassificationReport& report) {
  ordered_json classes = ordered_json::array();
  for (const ClassOutcome& outcome : report.summary.outcomes) {
    ordered_json mistakes = ordered_json::array();
    for (const auto& [label, count] : outcome.mistaken_for) {
      mistakes.push_back({{"name", report.names[static_cast<size_t>(label)]}, {"count", count}});
    }
    classes.push_back({{"name", report.names[static_cast<size_t>(outcome.label)]},
                       {"samples", outcome.samples},
                       {"correct", outcome.correct},
                       {"mistaken_for", mistakes}});
  }
  return classes;
}

}  // namespace

std::string ClassificationJson(const ClassificationReport& report) {
  const ClassificationSummary& summary = report.summary;
  const ClassificationRecord& sums = summary.sums;
  ordered_json settings = ordered_json::object();
  for (const auto& [name, value] : report.settings) settings[name] = value;
  ordered_json object = {{"format", 1},
                         {"program", absl::StrCat("prefixd-tools ", PREFIXD_VERSION)},
                         {"command", report.command},
                         {"samples", summary.samples},
                         {"names", report.names.size()},
                         {"top1_accuracy", summary.top1},
                         {"top5_accuracy", summary.top5},
                         {"mean_rank", summary.mean_rank}};
  if (summary.roc_auc.has_value()) {
    object["roc_auc"] = *summary.roc_auc;
    object["positive"] = report.names[static_cast<size_t>(PositiveOf(report.names))];
  }
  object["times_ms"] = {{"queue", TimesJson(summary.queue)},
                        {"prefill", TimesJson(summary.prefill)},
                        {"total", TimesJson(summary.total)}};
  object["receipts"] = {
      {"prompt_tokens", sums.prompt_tokens},   {"hit_tokens", sums.hit_tokens},
      {"images_encoded", sums.images_encoded}, {"contexts", sums.contexts},
      {"context_hits", sums.context_hits},     {"computed_rows", sums.computed_rows},
      {"saved_rows", sums.saved_rows},         {"passes", sums.passes}};
  object["settings"] = settings;
  object["classes"] = ClassesJson(report);
  // Paths need not be valid UTF-8.
  return absl::StrCat(object.dump(1, ' ', false, ordered_json::error_handler_t::replace), "\n");
}

std::string ClassificationMarkdown(const ClassificationReport& report) {
  std::vector<Line> settings = {{"command", absl::StrCat("`", report.command, "`")}};
  settings.insert(settings.end(), report.settings.begin(), report.settings.end());
  settings.emplace_back("program", absl::StrCat("prefixd-tools ", PREFIXD_VERSION));
  return absl::StrCat("# Ranking ", report.names.size(),
                      " names\n\nWhat each number means is said in docs/evaluation.md.\n\n",
                      Numbers(report), "\n## Worst classes\n\n", WorstClasses(report),
                      "\n## Times and receipts\n\n", Times(report.summary), "\n",
                      Receipts(report.summary.sums), "\n## Settings\n\n",
                      Table("setting", "value", settings));
}

}  // namespace prefixd
