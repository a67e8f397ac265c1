#include "client/prefixctl/terminal.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/string_view.h"

namespace prefixd::ctl {
namespace {

bool IsSet(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

bool IsDumb() {
  const char* const term = std::getenv("TERM");
  return term == nullptr || absl::string_view(term) == "dumb";
}

}  // namespace

Terminal DetectTerminal(bool no_color) {
  Terminal terminal{.stdin_tty = isatty(STDIN_FILENO) == 1,
                    .stdout_tty = isatty(STDOUT_FILENO) == 1,
                    .stderr_tty = isatty(STDERR_FILENO) == 1};
  const bool color = !no_color && !IsSet("NO_COLOR") && !IsDumb();
  terminal.color = terminal.stderr_tty && color;
  terminal.stdout_color = terminal.stdout_tty && color;
  terminal.utf8 = absl::string_view(nl_langinfo(CODESET)) == "UTF-8";
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
    terminal.width = size.ws_col;
  }
  return terminal;
}

}  // namespace prefixd::ctl
