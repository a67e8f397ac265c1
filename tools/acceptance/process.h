// Runs a program and waits for it.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_PROCESS_H_
#define PREFIXD_TOOLS_ACCEPTANCE_PROCESS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prefixd::acceptance {

struct ProcessResult {
  int exit_code = -1;  // -1: it ended by a signal.
  int signal = 0;
  bool timed_out = false;  // It was killed, with all that it had started.
  double seconds = 0;

  bool ok() const { return exit_code == 0 && !timed_out; }
  // "ended with status 3", "was killed after 600 s".
  std::string Describe() const;
};

// argv[0] is looked for along PATH. Output and errors go to `log`, which is overwritten; input is
// empty; it dies with the calling thread. Errors: a log that cannot be written, a process that
// cannot be made.
absl::StatusOr<ProcessResult> RunProcess(const std::vector<std::string>& argv,
                                         const std::string& log, int timeout_seconds);

// The program's file along PATH; empty: none.
std::string FindProgram(const std::string& name);

// Standard output of a short program, without the last newline; empty if it fails.
std::string OutputOf(const std::vector<std::string>& argv);

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_PROCESS_H_
