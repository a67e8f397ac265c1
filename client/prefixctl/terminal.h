// What the three standard streams are connected to.
#ifndef PREFIXD_CLIENT_PREFIXCTL_TERMINAL_H_
#define PREFIXD_CLIENT_PREFIXCTL_TERMINAL_H_

namespace prefixd::ctl {

struct Terminal {
  bool stdin_tty = false;
  bool stdout_tty = false;
  bool stderr_tty = false;
  bool color =
      false;  // For stderr: a terminal that is not dumb, and neither NO_COLOR nor the flag.
  bool stdout_color = false;  // The same for stdout.
  bool utf8 = false;          // The locale's encoding.
  int width = 80;             // Columns of stdout's terminal now.
};

// Looks at the process's streams and environment. Requires: setlocale was called.
Terminal DetectTerminal(bool no_color);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_TERMINAL_H_
