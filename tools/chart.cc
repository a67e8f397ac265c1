#include "tools/chart.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "tools/report.h"

namespace prefixd {
namespace {

// Pixels.
constexpr double kWidth = 960, kPanelTop = 48, kPanelHeight = 300, kPanelWidth = 390;
constexpr double kPanelLeft[] = {72, 552};
constexpr double kLegendTop = kPanelTop + kPanelHeight + 72, kLegendLine = 24, kLegendColumn = 222;
constexpr size_t kLegendColumns = 4;

constexpr char kInk[] = "#767676";  // Contrast of 4.5 on white and on black.
constexpr const char* kColors[] = {"#0078c8", "#d55e00", "#009e73", "#c2629b", "#a67c00",
                                   "#7a6ff0", "#d04a4a", "#3a9cb5", "#8a8f2f", "#a0685a"};
constexpr const char* kDashes[] = {"", "8 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2", "4 4"};
// Paths around the origin.
constexpr const char* kMarkers[] = {"M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
                                    "M-3.5 -3.5h7v7h-7z",
                                    "M0 -4.5L4.5 3.5H-4.5z",
                                    "M0 -5L5 0L0 5L-5 0z",
                                    "M0 4.5L4.5 -3.5H-4.5z",
                                    "M-1.5 -5h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
                                    "M-4.5 -2L0 -5L4.5 -2L3 4H-3z",
                                    "M-5 -2h10v4h-10z",
                                    "M-2 -5h4v10h-4z"};

std::string Escape(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}, {"'", "&apos;"}});
}

template <size_t N>
const char* Nth(const char* const (&list)[N], size_t index) {
  return list[index % N];
}

struct Text {
  double size = 13;
  const char* anchor = "start";
  const char* more = "";  // Further attributes.
};

void AddText(double x, double y, const std::string& text, const Text& style, std::string* svg) {
  absl::StrAppendFormat(
      svg, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%g\" text-anchor=\"%s\"%s>%s</text>\n", x, y,
      style.size, style.anchor, style.more, Escape(text));
}

void AddLine(double x1, double y1, double x2, double y2, const char* more, std::string* svg) {
  absl::StrAppendFormat(svg,
                        "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"%s/>\n",
                        x1, y1, x2, y2, kInk, more);
}

void AddMarker(double x, double y, size_t policy, std::string* svg) {
  absl::StrAppendFormat(svg, "<path transform=\"translate(%.1f %.1f)\" d=\"%s\" fill=\"%s\"/>\n", x,
                        y, Nth(kMarkers, policy), Nth(kColors, policy));
}

std::string LineStyle(size_t policy) {
  const char* const dash = Nth(kDashes, policy);
  return absl::StrCat("fill=\"none\" stroke=\"", Nth(kColors, policy), "\" stroke-width=\"2\"",
                      *dash == '\0' ? "" : absl::StrCat(" stroke-dasharray=\"", dash, "\""));
}

struct Panel {
  double left = 0;
  std::string title;
  double EvaluationRow::*number = nullptr;
  double low = 0, high = 1;  // Of the vertical axis.
  bool log = false;
  std::vector<double> ticks;

  double X(double budget) const { return left + budget * kPanelWidth; }
  double Y(double value) const {
    const double share =
        log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return kPanelTop + (1 - std::clamp(share, 0.0, 1.0)) * kPanelHeight;
  }
};

void AddAxes(const Panel& panel, std::string* svg) {
  const double bottom = kPanelTop + kPanelHeight, right = panel.left + kPanelWidth;
  AddText(panel.left, kPanelTop - 18, panel.title, {.size = 15, .more = " font-weight=\"bold\""},
          svg);
  for (const double tick : panel.ticks) {
    const double y = panel.Y(tick);
    AddLine(panel.left, y, right, y, " stroke-opacity=\"0.25\"", svg);
    AddText(panel.left - 8, y + 4.5, absl::StrFormat("%.6g", tick), {.anchor = "end"}, svg);
  }
  for (int percent = 0; percent <= 100; percent += 20) {
    const double x = panel.X(percent / 100.0);
    AddLine(x, bottom, x, bottom + 5, "", svg);
    AddText(x, bottom + 21, absl::StrCat(percent), {.anchor = "middle"}, svg);
  }
  AddLine(panel.left, kPanelTop, panel.left, bottom, "", svg);
  AddLine(panel.left, bottom, right, bottom, "", svg);
  AddText(panel.left + kPanelWidth / 2, bottom + 43, "budget: KV kept, %", {.anchor = "middle"},
          svg);
}

void AddFullCache(const Panel& panel, const EvaluationRow& full, std::string* svg) {
  if (!std::isfinite(full.*panel.number)) return;
  const double y = panel.Y(full.*panel.number);
  AddLine(panel.left, y, panel.left + kPanelWidth, y,
          " stroke-width=\"1.5\" stroke-dasharray=\"1 3\"", svg);
  AddText(panel.left + 6, y - 6, "full cache", {.size = 12}, svg);
}

void AddPolicy(const Panel& panel, const PolicyRows& policy, size_t index, std::string* svg) {
  std::string path;
  bool broken = true;
  for (const EvaluationRow* row : policy.rows) {
    const double value = row->*panel.number;
    const bool drawn = std::isfinite(value) && (!panel.log || value > 0);
    if (drawn) {
      absl::StrAppendFormat(&path, "%s%.1f %.1f", broken ? "M" : "L", panel.X(row->setting.budget),
                            panel.Y(value));
    }
    broken = !drawn;
  }
  if (path.empty()) return;
  absl::StrAppendFormat(svg, "<g><title>%s</title>\n<path d=\"%s\" %s/>\n", Escape(policy.label),
                        path, LineStyle(index));
  for (const EvaluationRow* row : policy.rows) {
    const double value = row->*panel.number;
    if (!std::isfinite(value) || (panel.log && value <= 0)) continue;
    AddMarker(panel.X(row->setting.budget), panel.Y(value), index, svg);
  }
  absl::StrAppend(svg, "</g>\n");
}

void AddLegend(const std::vector<PolicyRows>& policies, std::string* svg) {
  for (size_t i = 0; i < policies.size(); ++i) {
    const double x = kPanelLeft[0] + static_cast<double>(i % kLegendColumns) * kLegendColumn;
    const double y = kLegendTop + static_cast<double>(i / kLegendColumns) * kLegendLine;
    absl::StrAppendFormat(svg, "<path d=\"M%.1f %.1fh40\" %s/>\n", x, y, LineStyle(i));
    AddMarker(x + 20, y, i, svg);
    AddText(x + 50, y + 4.5, policies[i].label, {}, svg);
  }
}

// The axis of perplexities: what is finite, with a little room.
void FitLogAxis(const Evaluation& evaluation, Panel* panel) {
  std::vector<double> values;
  const auto add = [&](const EvaluationRow& row) {
    const double value = row.*panel->number;
    if (std::isfinite(value) && value > 0) values.push_back(value);
  };
  add(evaluation.full);
  for (const EvaluationRow& row : evaluation.rows) add(row);
  if (values.empty()) values = {1.0};
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  const double room = std::max(std::pow(*high / *low, 0.06), 1.005);
  panel->low = *low / room;
  if (*low >= 1) panel->low = std::max(panel->low, 1.0);  // No perplexity is lower.
  panel->high = *high * room;
  panel->ticks = LogTicks(panel->low, panel->high);
}

}  // namespace

std::vector<double> LogTicks(double low, double high) {
  std::vector<double> ticks;
  const auto add = [&](double tick) {
    if (tick >= low && tick <= high) ticks.push_back(tick);
  };
  if (high / low < 20) {
    const double rough = (high - low) / 5;
    const double decade = std::pow(10.0, std::floor(std::log10(rough)));
    const double digit = rough / decade;
    const double step = decade * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
    const double first = std::ceil(low / step);
    for (int i = 0; i <= 6; ++i) add((first + i) * step);
    return ticks;
  }
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  // About eight ticks at most.
  const int decades_apart = std::max(1, (last - first + 7) / 8);
  for (int decade = first; decade <= last; decade += decades_apart) {
    const double one = std::pow(10.0, decade);
    add(one);
    if (last - first > 3) continue;
    add(2 * one);
    add(5 * one);
  }
  return ticks;
}

std::string ChartSvg(const Evaluation& evaluation) {
  const std::vector<PolicyRows> policies = RowsByPolicy(evaluation);
  Panel perplexity{.left = kPanelLeft[0],
                   .title = "Perplexity (log scale, lower is better)",
                   .number = &EvaluationRow::perplexity,
                   .log = true};
  FitLogAxis(evaluation, &perplexity);
  const Panel rouge{.left = kPanelLeft[1],
                    .title = "ROUGE-L (higher is better)",
                    .number = &EvaluationRow::rouge_l,
                    .high = 1.05,
                    .ticks = {0, 0.2, 0.4, 0.6, 0.8, 1}};

  const size_t legend_lines = (policies.size() + kLegendColumns - 1) / kLegendColumns;
  const double height = kLegendTop + static_cast<double>(legend_lines) * kLegendLine;
  std::string svg = absl::StrFormat(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" width=\"%g\" height=\"%g\" "
      "role=\"img\" font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\" "
      "fill=\"%s\">\n<title>Perplexity and ROUGE-L by KV budget</title>\n"
      "<desc>A line a policy. ROUGE-L is that of greedy answers against those of the full "
      "cache.</desc>\n",
      kWidth, height, kWidth, height, kInk);
  for (const Panel& panel : {perplexity, rouge}) {
    AddAxes(panel, &svg);
    AddFullCache(panel, evaluation.full, &svg);
    for (size_t i = 0; i < policies.size(); ++i) AddPolicy(panel, policies[i], i, &svg);
  }
  AddLegend(policies, &svg);
  return absl::StrCat(svg, "</svg>\n");
}

}  // namespace prefixd
