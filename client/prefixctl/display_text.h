// Text from anywhere as a piece of one line: what could drive a terminal or break the line is
// replaced, and its columns are known. Pure functions.
#ifndef PREFIXD_CLIENT_PREFIXCTL_DISPLAY_TEXT_H_
#define PREFIXD_CLIENT_PREFIXCTL_DISPLAY_TEXT_H_

#include <string>

#include "absl/strings/string_view.h"

namespace prefixd::ctl {

// `text` with control characters, line feeds and tabs among them, marks that turn the direction of
// writing, and bytes that are not UTF-8 replaced by U+FFFD, one each. With `utf8` false, for other
// locales, everything that is not printable ASCII becomes "?", a character at a time.
std::string OneLine(absl::string_view text, bool utf8);

// Columns that a result of OneLine takes on a terminal.
int Columns(absl::string_view line);

// A result of OneLine in at most `columns` columns: what does not fit is cut off at its end (or,
// for paths, at its beginning) and marked by "…", or "~" with `utf8` false. Requires: columns >= 1.
std::string Fit(absl::string_view line, int columns, bool utf8);
std::string FitTail(absl::string_view line, int columns, bool utf8);

// Bytes in quotes: printable characters as they are, `"` and `\` with a backslash, "\n", all else
// as "\x1b". With `utf8` false only ASCII counts as printable.
std::string Quoted(absl::string_view bytes, bool utf8);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_DISPLAY_TEXT_H_
