// A line for a terminal that is put together from coloured pieces and never wider than it may be.
#ifndef PREFIXD_CLIENT_PREFIXCTL_SCREEN_LINE_H_
#define PREFIXD_CLIENT_PREFIXCTL_SCREEN_LINE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace prefixd::ctl {

enum class Color { kPlain, kBold, kDim, kRed, kGreen, kYellow, kBlue, kMagenta, kCyan };

class ScreenLine {
 public:
  ScreenLine(int columns, bool color) : columns_(columns), color_(color) {}

  // Adds text from anywhere: every byte that is not printable ASCII becomes "?".
  ScreenLine& Text(absl::string_view text, Color color = Color::kPlain);
  // Adds a piece that is safe and `columns` columns wide (display_text.h); nothing if there is no
  // room for it.
  ScreenLine& Piece(absl::string_view text, int columns, Color color = Color::kPlain);
  // Adds `glyph`, one column wide, `count` times.
  ScreenLine& Glyphs(absl::string_view glyph, int count, Color color = Color::kPlain);

  int room() const { return columns_ - used_; }
  // Without an escape code in force at its end.
  std::string Take();

 private:
  void Switch(Color color);

  const int columns_;
  const bool color_;
  int used_ = 0;
  Color present_ = Color::kPlain;
  std::string out_;
};

// A line that begins with a title in ten columns.
ScreenLine TitledLine(absl::string_view title, int columns, bool color);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_SCREEN_LINE_H_
