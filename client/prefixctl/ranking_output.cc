#include "client/prefixctl/ranking_output.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/prefixctl/display_text.h"
#include "client/prefixctl/json_events.h"
#include "client/prefixctl/json_parts.h"
#include "client/prefixctl/screen_line.h"

namespace prefixd::ctl {
namespace {

constexpr int kGap = 2;
constexpr int kMinNameColumns = 4;
constexpr int kMinBarColumns = 6;
constexpr int kMaxBarColumns = 24;

std::string Percent(double probability) { return absl::StrFormat("%.2f %%", 100 * probability); }

// What stands behind a name in a line.
std::string Weight(const v1::ClassScore& score) {
  return score.has_probability() ? Percent(score.probability())
                                 : absl::StrFormat("%.4f", score.score());
}

// Columns of a line that has no limit.
constexpr int kEndless = std::numeric_limits<int>::max();

ScreenLine NewLine(const Layout& layout) {
  return ScreenLine(layout.columns > 0 ? layout.columns : kEndless, layout.color);
}

// A bar of `share` of `columns`, in eighths of a column where the glyphs are there.
void AddBar(double share, int columns, bool utf8, ScreenLine* line) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const double clamped = std::isfinite(share) ? std::clamp(share, 0.0, 1.0) : 0.0;
  if (!utf8) {
    const int filled = static_cast<int>(std::lround(clamped * columns));
    line->Glyphs("#", filled, Color::kGreen).Glyphs(" ", columns - filled);
    return;
  }
  const int eighths = static_cast<int>(std::lround(clamped * columns * 8));
  line->Glyphs("█", eighths / 8, Color::kGreen);
  const int part = eighths % 8;
  if (part > 0) line->Glyphs(kEighths[part], 1, Color::kGreen);
  line->Glyphs(" ", columns - eighths / 8 - (part > 0 ? 1 : 0));
}

struct Row {
  std::string rank, name, probability, score;
};

// Widths of the columns of a table; 0: there is no such column.
struct Widths {
  int rank = 4;
  int name = 4;
  int probability = 0;
  int bar = 0;
  int score = 5;
};

Widths Measure(const std::vector<Row>& rows, bool probabilities, const Layout& layout) {
  Widths widths;
  for (const Row& row : rows) {
    widths.rank = std::max(widths.rank, static_cast<int>(row.rank.size()));
    widths.name = std::max(widths.name, Columns(row.name));
    widths.score = std::max(widths.score, static_cast<int>(row.score.size()));
  }
  if (probabilities) widths.probability = 11;  // "PROBABILITY".
  const int fixed =
      widths.rank + widths.score + 2 * kGap + (probabilities ? widths.probability + kGap : 0);
  if (layout.columns == 0) {
    if (probabilities) widths.bar = kMaxBarColumns;
    return widths;
  }
  widths.name = std::min(widths.name, std::max(kMinNameColumns, layout.columns - fixed));
  const int room = layout.columns - fixed - widths.name - kGap;
  if (probabilities && room >= kMinBarColumns) widths.bar = std::min(room, kMaxBarColumns);
  return widths;
}

std::string TableLine(const Row& row, double share, const Widths& widths, bool bold,
                      const Layout& layout) {
  ScreenLine line = NewLine(layout);
  const Color color = bold ? Color::kBold : Color::kPlain;
  line.Text(absl::StrFormat("%-*s", widths.rank + kGap, row.rank));
  const std::string name = Fit(row.name, widths.name, layout.utf8);
  const int columns = Columns(name);
  line.Piece(name, columns, color).Glyphs(" ", widths.name - columns + kGap);
  if (widths.probability > 0) {
    line.Text(absl::StrFormat("%*s", widths.probability, row.probability), color).Glyphs(" ", kGap);
  }
  if (widths.bar > 0) {
    AddBar(share, widths.bar, layout.utf8, &line);
    line.Glyphs(" ", kGap);
  }
  line.Text(absl::StrFormat("%*s", widths.score, row.score));
  return absl::StrCat(line.Take(), "\n");
}

Json ScoreJson(int rank, const v1::ClassScore& score) {
  Json json = {{"rank", rank}, {"index", score.index()}, {"name", score.name()}};
  if (score.has_probability()) json["probability"] = score.probability();
  json["score"] = score.score();
  json["log_prob"] = score.log_prob();
  json["num_tokens"] = score.num_tokens();
  return json;
}

std::string CsvField(absl::string_view text) {
  if (text.find_first_of(",\"\r\n") == absl::string_view::npos) return std::string(text);
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

// As many digits as the number needs.
std::string CsvNumber(double number) { return Json(number).dump(); }

}  // namespace

Layout LayoutOf(const Terminal& terminal) {
  return {.columns = terminal.stdout_tty ? terminal.width : 0,
          .color = terminal.stdout_color,
          .utf8 = terminal.utf8};
}

std::string RankingTable(const v1::ClassifyResponse& response, const Layout& layout) {
  std::vector<Row> rows;
  bool probabilities = false;
  double best = 0;
  for (const v1::ClassScore& score : response.top()) {
    rows.push_back({.rank = absl::StrCat(rows.size() + 1),
                    .name = OneLine(score.name(), layout.utf8),
                    .probability = score.has_probability() ? Percent(score.probability()) : "",
                    .score = absl::StrFormat("%.4f", score.score())});
    probabilities = probabilities || score.has_probability();
    best = std::max(best, score.probability());
  }
  const Widths widths = Measure(rows, probabilities, layout);
  ScreenLine header = NewLine(layout);
  header.Text(absl::StrFormat("%-*s%-*s", widths.rank + kGap, "RANK", widths.name + kGap, "NAME"));
  if (probabilities) header.Text("PROBABILITY").Glyphs(" ", kGap);
  if (widths.bar > 0) header.Glyphs(" ", widths.bar + kGap);
  header.Text(absl::StrFormat("%*s", widths.score, "SCORE"));
  std::string out = absl::StrCat(header.Take(), "\n");
  for (size_t i = 0; i < rows.size(); ++i) {
    const double probability = response.top(static_cast<int>(i)).probability();
    absl::StrAppend(&out,
                    TableLine(rows[i], best > 0 ? probability / best : 0, widths, i == 0, layout));
  }
  return out;
}

int MaxFileColumns(const Layout& layout) {
  if (layout.columns == 0) return 0;
  // What a name of four columns and its weight take.
  constexpr int kBestColumns = kGap + kMinNameColumns + 1 + 7;
  return std::max(1, std::min(layout.columns / 2, layout.columns - kBestColumns));
}

std::string RankingLine(absl::string_view file, const v1::ClassifyResponse& response,
                        int file_columns, const Layout& layout) {
  ScreenLine line = NewLine(layout);
  std::string shown = OneLine(file, layout.utf8);
  if (layout.columns > 0) shown = FitTail(shown, MaxFileColumns(layout), layout.utf8);
  const int columns = Columns(shown);
  line.Piece(shown, columns).Glyphs(" ", std::max(0, file_columns - columns));
  for (int i = 0; i < response.top_size(); ++i) {
    const v1::ClassScore& score = response.top(i);
    const std::string weight = Weight(score);
    std::string name = OneLine(score.name(), layout.utf8);
    const int weight_columns = static_cast<int>(weight.size());
    const int room = line.room() - kGap - 1 - weight_columns;
    if (i > 0 && Columns(name) > room) break;
    if (layout.columns > 0) name = Fit(name, std::max(1, room), layout.utf8);
    line.Glyphs(" ", kGap);
    line.Piece(name, Columns(name), i == 0 ? Color::kBold : Color::kDim).Glyphs(" ", 1);
    line.Text(weight, i == 0 ? Color::kGreen : Color::kDim);
  }
  return line.Take();
}

std::string RankingJsonLine(absl::string_view file, const v1::ClassifyResponse& response) {
  Json json = {{"event", "ranking"}};
  if (!file.empty()) json["file"] = std::string(file);
  json["request_id"] = response.request_id();
  json["model"] = response.model();
  json["top"] = Json::array();
  for (int i = 0; i < response.top_size(); ++i) {
    json["top"].push_back(ScoreJson(i + 1, response.top(i)));
  }
  if (!response.scores().empty()) {
    json["scores"] = std::vector<double>(response.scores().begin(), response.scores().end());
  }
  if (!response.probabilities().empty()) {
    json["probabilities"] =
        std::vector<double>(response.probabilities().begin(), response.probabilities().end());
  }
  json["shots"] = std::vector<std::string>(response.shots().begin(), response.shots().end());
  json["usage"] = ToJson(response.usage());
  json["cache"] = ToJson(response.cache());
  json["scoring"] = ToJson(response.scoring());
  json["timings_ms"] = ScoringTimingsJson(response.timings());
  return Dump(json);
}

std::string FileErrorJsonLine(absl::string_view file, const absl::Status& status) {
  Json json = Json::parse(ErrorLine(status));
  json["file"] = std::string(file);
  return Dump(json);
}

std::string RankingCsv(absl::string_view file, const v1::ClassifyResponse& response, bool escape) {
  const auto field = [escape](absl::string_view text) {
    return CsvField(escape ? OneLine(text, true) : std::string(text));
  };
  std::string out;
  for (int i = 0; i < response.top_size(); ++i) {
    const v1::ClassScore& score = response.top(i);
    absl::StrAppend(&out, field(file), ",", i + 1, ",", field(score.name()), ",",
                    score.has_probability() ? CsvNumber(score.probability()) : "", ",",
                    CsvNumber(score.score()), "\n");
  }
  return out;
}

void RankingTotals::Add(const v1::ClassifyResponse& response) {
  const v1::ScoringReceipt& scoring = response.scoring();
  candidates += scoring.candidates();
  contexts += scoring.contexts();
  prompt_tokens += response.usage().prompt_tokens();
  cached_tokens += response.usage().cached_prompt_tokens();
  computed_rows += scoring.computed_rows();
  saved_rows += scoring.saved_rows();
  pruned_nodes += scoring.pruned_nodes();
}

std::string RankingTotals::Summary(double millis) const {
  std::string line = absl::StrCat(candidates, " names; ");
  if (contexts > 1) {
    absl::StrAppend(&line, contexts, " contexts of ");
  } else {
    absl::StrAppend(&line, "context ");
  }
  absl::StrAppend(&line, prompt_tokens, " tokens, ", cached_tokens, " cached; ", computed_rows,
                  " rows computed, ", saved_rows, " saved");
  if (pruned_nodes > 0) absl::StrAppend(&line, ", ", pruned_nodes, " pruned");
  absl::StrAppendFormat(&line, "; %.1f ms", millis);
  return line;
}

}  // namespace prefixd::ctl
