#include "client/prefixctl/top_view.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/prefixctl/proto_time.h"
#include "client/prefixctl/quantity.h"
#include "client/prefixctl/screen_line.h"
#include "client/prefixctl/table.h"
#include "client/prefixctl/top_retention.h"

namespace prefixd::ctl {
namespace {

// How the pages of one state are drawn. The glyphs differ, so that colour only helps.
struct PageKind {
  const char* name;
  const char* utf8;
  const char* ascii;
  Color color;
};
// In the order of PageMapCell, the first of equals wins a cell.
enum Kind { kActive, kShared, kPinned, kCached, kFree, kNumKinds };
constexpr PageKind kKinds[kNumKinds] = {{"active", "█", "#", Color::kGreen},
                                        {"shared", "▓", "@", Color::kCyan},
                                        {"pinned", "▒", "%", Color::kMagenta},
                                        {"cached", "░", "+", Color::kBlue},
                                        {"free", "·", ".", Color::kDim}};
using PageCounts = std::array<int64_t, kNumKinds>;

const char* GlyphOf(int kind, const TopStyle& style) {
  return style.utf8 ? kKinds[kind].utf8 : kKinds[kind].ascii;
}

ScreenLine NewLine(const TopStyle& style) { return ScreenLine(style.columns, style.color); }

ScreenLine Titled(absl::string_view title, const TopStyle& style) {
  return TitledLine(title, style.columns, style.color);
}

// Per second since the look before; "-" if there was none, or the server was started since.
std::string Rate(uint64_t now, std::optional<uint64_t> before, double seconds) {
  if (!before || now < *before || seconds <= 0) return "-";
  return absl::StrFormat("%.1f", static_cast<double>(now - *before) / seconds);
}

uint64_t HitTokens(const v1::GetCacheStatsResponse& cache) {
  return cache.text_hit_tokens() + cache.image_hit_tokens();
}
uint64_t QueryTokens(const v1::GetCacheStatsResponse& cache) {
  return cache.text_query_tokens() + cache.image_query_tokens();
}

std::string HeadLine(const TopSample& now, const TopStyle& style) {
  const v1::GetServerInfoResponse& info = now.info;
  const bool serving = info.state() == v1::SERVER_STATE_SERVING;
  ScreenLine line = NewLine(style);
  line.Text("prefixd ", Color::kBold).Text(info.version(), Color::kBold);
  line.Text(absl::StrCat("  ", info.listen(), "  "));
  line.Text(
      absl::AsciiStrToLower(absl::StripPrefix(v1::ServerState_Name(info.state()), "SERVER_STATE_")),
      serving ? Color::kGreen : Color::kYellow);
  line.Text(absl::StrCat(
      "  up ", absl::FormatDuration(absl::Trunc(ToDuration(info.uptime()), absl::Seconds(1)))));
  if (style.paused) line.Text("  paused", Color::kYellow);
  return line.Take();
}

std::string RatesLine(const TopSample& now, const TopSample* before, const TopStyle& style) {
  const double seconds = before ? absl::ToDoubleSeconds(now.time - before->time) : 0;
  const auto rate = [&](auto field) {
    return Rate(field(now), before ? std::optional<uint64_t>(field(*before)) : std::nullopt,
                seconds);
  };
  std::string cached = "-";
  if (before != nullptr && QueryTokens(now.cache) >= QueryTokens(before->cache) &&
      HitTokens(now.cache) >= HitTokens(before->cache)) {
    cached = FormatShare(HitTokens(now.cache) - HitTokens(before->cache),
                         QueryTokens(now.cache) - QueryTokens(before->cache));
  }
  return Titled("tokens/s", style)
      .Text(absl::StrCat(
          "prompt ", rate([](const TopSample& s) { return s.info.engine().prompt_tokens(); }),
          "   generated ",
          rate([](const TopSample& s) { return s.info.engine().generated_tokens(); }), "   cached ",
          cached))
      .Take();
}

std::string HitsLine(const v1::GetCacheStatsResponse& cache, const TopStyle& style) {
  return Titled("hits", style)
      .Text(absl::StrCat(
          "text ", FormatShare(cache.text_hit_tokens(), cache.text_query_tokens()), " of ",
          FormatCount(cache.text_query_tokens()), "   image ",
          FormatShare(cache.image_hit_tokens(), cache.image_query_tokens()), " of ",
          FormatCount(cache.image_query_tokens()), "   features ",
          FormatShare(cache.feature_hits(), cache.feature_hits() + cache.tower_runs())))
      .Take();
}

// A bar of all pages by state, then the numbers.
std::string PagesLine(const v1::GetCacheStatsResponse& cache, const TopStyle& style) {
  PageCounts counts{};
  counts[kActive] = cache.active_pages();
  counts[kPinned] = std::max(0, cache.cached_pages() - cache.evictable_pages());
  counts[kCached] = cache.evictable_pages();
  counts[kFree] = cache.free_pages();
  int64_t total = 0;
  for (const int64_t count : counts) total += std::max<int64_t>(count, 0);
  ScreenLine line = Titled("pages", style);
  // What the numbers leave.
  const int width = std::clamp(style.columns - 70, 10, 40);
  line.Text("[");
  int64_t seen = 0;
  int drawn = 0;
  for (int kind = 0; kind < kNumKinds && total > 0; ++kind) {
    // Ends are rounded, not lengths: the bar is always full.
    seen += std::max<int64_t>(counts[kind], 0);
    const int end = static_cast<int>((seen * width + total / 2) / total);
    line.Glyphs(GlyphOf(kind, style), end - drawn, kKinds[kind].color);
    drawn = end;
  }
  line.Text(absl::StrCat(std::string(static_cast<size_t>(width - drawn), ' '), "]"));
  for (const int kind : {kActive, kPinned, kCached, kFree}) {
    const auto part = static_cast<uint64_t>(std::max<int64_t>(counts[kind], 0));
    line.Text(
        absl::StrCat(" ", kKinds[kind].name, " ", FormatShare(part, static_cast<uint64_t>(total))));
  }
  return line.Take();
}

int KindOf(const v1::PageMapCell& cell) {
  PageCounts counts{};
  counts[kActive] = cell.active();
  counts[kShared] = cell.shared();
  counts[kPinned] = cell.pinned();
  counts[kCached] = cell.cached();
  counts[kFree] = cell.free();
  return static_cast<int>(std::max_element(counts.begin(), counts.end()) - counts.begin());
}

void AddMap(const v1::GetPageMapResponse& map, const TopStyle& style,
            std::vector<std::string>* lines) {
  if (map.cells().empty()) return;
  ScreenLine legend = Titled("map", style);
  legend.Text(absl::StrCat("a cell is ", map.pages_per_cell(),
                           map.pages_per_cell() == 1 ? " page:" : " pages:"));
  for (int kind = 0; kind < kNumKinds; ++kind) {
    legend.Text("  ").Glyphs(GlyphOf(kind, style), 1, kKinds[kind].color);
    legend.Text(absl::StrCat(" ", kKinds[kind].name));
  }
  lines->push_back(legend.Take());
  int at = 0;
  for (int row = 0; row < MapRows(style) && at < map.cells_size(); ++row) {
    ScreenLine line = NewLine(style);
    for (; line.room() > 0 && at < map.cells_size(); ++at) {
      const int kind = KindOf(map.cells(at));
      line.Glyphs(GlyphOf(kind, style), 1, kKinds[kind].color);
    }
    lines->push_back(line.Take());
  }
}

void AddRequests(const v1::ListRequestsResponse& list, size_t room, const TopStyle& style,
                 std::vector<std::string>* lines) {
  if (list.requests().empty() || room < 2) return;
  std::vector<std::vector<std::string>> rows = {{"REQUEST", "STATE", "TENANT", "PRIO", "PROMPT",
                                                 "CACHED", "GENERATED", "PAGES", "PREEMPTED",
                                                 "AGE"}};
  for (const v1::RequestSummary& request : list.requests()) {
    if (rows.size() == room) break;
    rows.push_back({request.request_id(),
                    absl::AsciiStrToLower(absl::StripPrefix(v1::RequestState_Name(request.state()),
                                                            "REQUEST_STATE_")),
                    request.tenant().empty() ? "-" : request.tenant(),
                    absl::StrCat(request.priority()), absl::StrCat(request.prompt_tokens()),
                    absl::StrCat(request.cached_tokens()), absl::StrCat(request.generated_tokens()),
                    absl::StrCat(request.kv_pages()), absl::StrCat(request.preemptions()),
                    absl::StrFormat("%.1f s", ToMillis(request.age()) / 1e3)});
    // The rest of the columns must stay in sight.
    std::string& id = rows.back()[0];
    if (id.size() > 32) id = absl::StrCat(id.substr(0, 29), "...");
  }
  bool head = true;
  for (const absl::string_view row : absl::StrSplit(FormatTable(rows), '\n', absl::SkipEmpty())) {
    lines->push_back(NewLine(style).Text(row, head ? Color::kBold : Color::kPlain).Take());
    head = false;
  }
}

}  // namespace

int MapRows(const TopStyle& style) {
  // A third of the screen; the list of requests gets what is left.
  return style.rows == 0 ? 4 : std::clamp(style.rows / 3, 1, 8);
}

std::vector<std::string> RenderTop(const TopSample& now, const TopSample* before,
                                   const TopStyle& style) {
  std::vector<std::string> lines;
  lines.push_back(HeadLine(now, style));
  if (!style.error.empty()) lines.push_back(NewLine(style).Text(style.error, Color::kRed).Take());
  lines.push_back(
      Titled("requests", style)
          .Text(absl::StrCat(now.requests.running(), " running   ", now.requests.waiting(),
                             " waiting   ", now.cache.preemptions(), " preemptions   ",
                             now.cache.prefixes(), " pinned prefixes"))
          .Take());
  lines.push_back(RatesLine(now, before, style));
  lines.push_back(HitsLine(now.cache, style));
  lines.push_back(PagesLine(now.cache, style));
  AddRetention(now.cache.retention(), style, &lines);
  AddMap(now.map, style, &lines);
  const size_t rows = style.rows > 0 ? static_cast<size_t>(style.rows) : SIZE_MAX;
  const size_t taken = lines.size() + 1 + (style.keys ? 1 : 0);
  if (!now.requests.requests().empty()) lines.push_back("");
  AddRequests(now.requests, rows > taken ? rows - taken : 0, style, &lines);
  if (style.keys) {
    lines.resize(std::min(lines.size(), rows - 1));
    lines.push_back(NewLine(style)
                        .Text(style.paused ? "q quit  p go on" : "q quit  p pause", Color::kDim)
                        .Take());
  }
  lines.resize(std::min(lines.size(), rows));
  return lines;
}

}  // namespace prefixd::ctl
