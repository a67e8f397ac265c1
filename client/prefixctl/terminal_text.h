// Text for a terminal, as it arrives: wrapped at words without ever taking back what was shown,
// characters whole, control characters (which could drive the terminal) left out. One thread.
#ifndef PREFIXD_CLIENT_PREFIXCTL_TERMINAL_TEXT_H_
#define PREFIXD_CLIENT_PREFIXCTL_TERMINAL_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace prefixd::ctl {

class TerminalText {
 public:
  // `width`: columns of a line; 0: lines are not wrapped.
  explicit TerminalText(int width) : width_(width) {}

  // Returns what can be shown after `text` came. The last word is held back until its end is known,
  // as is a character that is not complete.
  std::string Add(absl::string_view text);

  // Returns what was held back. An incomplete character becomes U+FFFD.
  std::string Finish();

 private:
  void AddCharacter(absl::string_view bytes, int columns, std::string* out);
  // Shows the held word, on a new line if this one has no room for it.
  void EndWord(std::string* out);

  const int width_;
  int column_ = 0;       // Columns taken on the present line.
  std::string partial_;  // Bytes of a character that is not complete.
  std::string spaces_;   // Spaces between what was shown and the held word.
  std::string word_;     // The held word.
  int word_columns_ = 0;
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_TERMINAL_TEXT_H_
