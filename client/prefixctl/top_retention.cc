#include "client/prefixctl/top_retention.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/prefixctl/quantity.h"
#include "client/prefixctl/retention_text.h"
#include "client/prefixctl/screen_line.h"

namespace prefixd::ctl {
namespace {

// From a share of 0 to one of 1.
constexpr const char* kUtf8Levels[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr const char* kAsciiLevels[] = {"_", ".", "-", ":", "=", "+", "*", "#"};
constexpr int kLevels = 8;
static_assert(std::size(kUtf8Levels) == kLevels && std::size(kAsciiLevels) == kLevels);

// What the numbers beside the curve leave.
int CurveWidth(const TopStyle& style) { return std::clamp(style.columns - 58, 8, 80); }

std::string KeptLine(const v1::RetentionStats& stats, const KeptShares& shares,
                     const TopStyle& style) {
  ScreenLine line = TitledLine("retention", style.columns, style.color);
  if (shares.layers.empty()) {
    line.Text("kept -");
  } else {
    line.Text(absl::StrCat("kept ", FormatRatio(shares.mean), " of ",
                           FormatCount(stats.selected_from()), "   mass ",
                           FormatRatio(stats.score_mass())));
  }
  return line
      .Text(absl::StrCat("   exact ", FormatCount(stats.exact_requests()), "   shared ",
                         FormatCount(stats.shared_requests()), "   snapshots ", stats.snapshots()))
      .Take();
}

std::string CurveLine(const KeptShares& shares, const TopStyle& style) {
  ScreenLine line = TitledLine("layers", style.columns, style.color);
  line.Text("[");
  for (const double share : CurveColumns(shares.layers, CurveWidth(style))) {
    const int level = std::clamp(static_cast<int>(share * kLevels), 0, kLevels - 1);
    line.Glyphs(style.utf8 ? kUtf8Levels[level] : kAsciiLevels[level], 1, Color::kCyan);
  }
  return line
      .Text(absl::StrCat("] min ", FormatRatio(shares.least), "  mean ", FormatRatio(shares.mean),
                         "  max ", FormatRatio(shares.most)))
      .Take();
}

std::string GuardLine(const v1::RetentionStats& stats, const TopStyle& style) {
  const v1::GuardStats& guard = stats.guard();
  ScreenLine line = TitledLine("guard", style.columns, style.color);
  line.Text(absl::StrCat("default budget ", FormatRatio(stats.default_budget())));
  if (guard.sampled() > 0) {
    line.Text(absl::StrCat("   agreement ", FormatRatio(guard.agreement()),
                           absl::StrFormat("   drift %.3f", guard.logprob_drift()), "   replayed ",
                           guard.replayed(), " of ", guard.sampled()));
  }
  if (guard.raises() > 0) {
    line.Text(absl::StrCat("   ", guard.raises(), " raises"), Color::kYellow);
  }
  return line.Take();
}

}  // namespace

std::vector<double> CurveColumns(const std::vector<double>& layers, int width) {
  const size_t columns = std::min(layers.size(), static_cast<size_t>(width));
  std::vector<double> curve(columns);
  for (size_t i = 0; i < columns; ++i) {
    const size_t begin = i * layers.size() / columns, end = (i + 1) * layers.size() / columns;
    for (size_t layer = begin; layer < end; ++layer) curve[i] += layers[layer];
    curve[i] /= static_cast<double>(end - begin);
  }
  return curve;
}

void AddRetention(const v1::RetentionStats& stats, const TopStyle& style,
                  std::vector<std::string>* lines) {
  const bool used = stats.exact_requests() + stats.shared_requests() + stats.selections() > 0;
  if (!used && stats.guard().sampled() == 0) return;
  const KeptShares shares = KeptSharesOf(stats);
  lines->push_back(KeptLine(stats, shares, style));
  if (!shares.layers.empty()) lines->push_back(CurveLine(shares, style));
  lines->push_back(GuardLine(stats, style));
}

}  // namespace prefixd::ctl
