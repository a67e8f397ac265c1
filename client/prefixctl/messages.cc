#include "client/prefixctl/messages.h"

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/prefixctl/terminal_text.h"

namespace prefixd::ctl {
namespace {

void Put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

// Words of a server, without what could drive the terminal.
std::string Harmless(absl::string_view message) {
  TerminalText text(0);
  std::string out = text.Add(message);
  return absl::StrCat(out, text.Finish());
}

}  // namespace

void Messages::Error(absl::string_view message, absl::string_view next_step) const {
  const char* const red = terminal_.color ? "\033[31m" : "";
  const char* const plain = terminal_.color ? "\033[0m" : "";
  Put(absl::StrCat(red, "prefixctl: ", Harmless(message), plain, "\n"));
  if (!next_step.empty()) Put(absl::StrCat("  ", next_step, "\n"));
}

void Messages::Note(absl::string_view line) const {
  if (!quiet_) Put(absl::StrCat(line, "\n"));
}

void Messages::Progress(absl::string_view line) {
  if (quiet_) return;
  if (!terminal_.stderr_tty) {
    Put(absl::StrCat(line, "\n"));
    return;
  }
  Put(absl::StrCat("\r\033[K", line));
  in_progress_ = true;
}

void Messages::EndProgress() {
  if (in_progress_) Put("\n");
  in_progress_ = false;
}

}  // namespace prefixd::ctl
