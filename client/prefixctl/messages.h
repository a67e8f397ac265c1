// What prefixctl says to the person before it: on stderr, never mixed with data. Main thread only.
#ifndef PREFIXD_CLIENT_PREFIXCTL_MESSAGES_H_
#define PREFIXD_CLIENT_PREFIXCTL_MESSAGES_H_

#include "absl/strings/string_view.h"
#include "client/prefixctl/terminal.h"

namespace prefixd::ctl {

class Messages {
 public:
  Messages(const Terminal& terminal, bool quiet) : terminal_(terminal), quiet_(quiet) {}

  // An error and, if there is one, what to do next. Shown even when quiet.
  void Error(absl::string_view message, absl::string_view next_step) const;

  // A line of information; nothing when quiet.
  void Note(absl::string_view line) const;

  // Replaces the line of progress before on a terminal, adds a line elsewhere; nothing when quiet.
  void Progress(absl::string_view line);
  // Ends the line of progress, if there is one.
  void EndProgress();

 private:
  const Terminal terminal_;
  const bool quiet_;
  bool in_progress_ = false;
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_MESSAGES_H_
