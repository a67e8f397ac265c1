#include "client/prefixctl/screen_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace prefixd::ctl {
namespace {

const char* CodeOf(Color color) {
  switch (color) {
    case Color::kPlain:
      return "\033[0m";
    case Color::kBold:
      return "\033[0;1m";
    case Color::kDim:
      return "\033[0;2m";
    case Color::kRed:
      return "\033[0;31m";
    case Color::kGreen:
      return "\033[0;32m";
    case Color::kYellow:
      return "\033[0;33m";
    case Color::kBlue:
      return "\033[0;34m";
    case Color::kMagenta:
      return "\033[0;35m";
    case Color::kCyan:
      return "\033[0;36m";
  }
  return "";
}

}  // namespace

void ScreenLine::Switch(Color color) {
  if (color_ && color != present_) absl::StrAppend(&out_, CodeOf(color));
  present_ = color;
}

ScreenLine& ScreenLine::Text(absl::string_view text, Color color) {
  text = text.substr(0, static_cast<size_t>(std::max(0, room())));
  if (text.empty()) return *this;
  Switch(color);
  for (const char c : text) out_ += c >= 0x20 && c < 0x7f ? c : '?';
  used_ += static_cast<int>(text.size());
  return *this;
}

ScreenLine& ScreenLine::Piece(absl::string_view text, int columns, Color color) {
  if (text.empty() || columns > room()) return *this;
  Switch(color);
  absl::StrAppend(&out_, text);
  used_ += columns;
  return *this;
}

ScreenLine& ScreenLine::Glyphs(absl::string_view glyph, int count, Color color) {
  count = std::min(count, room());
  if (count <= 0) return *this;
  Switch(color);
  for (int i = 0; i < count; ++i) absl::StrAppend(&out_, glyph);
  used_ += count;
  return *this;
}

std::string ScreenLine::Take() {
  Switch(Color::kPlain);
  return std::move(out_);
}

ScreenLine TitledLine(absl::string_view title, int columns, bool color) {
  ScreenLine line(columns, color);
  line.Text(absl::StrFormat("%-10s", title), Color::kBold);
  return line;
}

}  // namespace prefixd::ctl
