// Runs the real prefixctl as a child process.
#ifndef PREFIXD_TESTS_CLIENT_RUN_PREFIXCTL_H_
#define PREFIXD_TESTS_CLIENT_RUN_PREFIXCTL_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace prefixd::testing {

struct RunResult {
  int exit_status = -1;  // -signal if a signal ended it.
  std::string out, err;
};

// A running prefixctl; its streams are pipes, or one terminal. Killed if it still runs at the end.
class Prefixctl {
 public:
  // Streams are pipes; stdin holds `input` and then ends.
  explicit Prefixctl(const std::vector<std::string>& arguments, const std::string& input = "");
  // All three streams are a terminal of `columns` columns.
  static Prefixctl OnTerminal(const std::vector<std::string>& arguments, int columns);
  ~Prefixctl();

  Prefixctl(Prefixctl&& other) noexcept;
  Prefixctl& operator=(Prefixctl&&) = delete;

  // Types at the terminal.
  void Type(const std::string& text) const;
  void Signal(int signal) const;
  // Makes the terminal another size.
  void Resize(int columns, int rows) const;
  // Whether the terminal echoes and edits lines, as it does until a program changes it.
  bool InLineMode() const;
  // Waits until stdout (on a terminal: all that was shown) since the last WaitFor holds `text`.
  // Returns whether it did within 10 s.
  bool WaitFor(const std::string& text);
  // Waits for the end and returns everything. Fails the test after 20 s.
  RunResult Wait();

 private:
  Prefixctl() = default;
  // Reads what is there, waiting up to `timeout` for something. False at the end of both streams.
  bool Pump(absl::Duration timeout);

  pid_t pid_ = -1;
  int out_ = -1, err_ = -1;  // On a terminal `out_` is its other side.
  size_t seen_ = 0;          // Of out: up to here WaitFor has looked.
  RunResult result_;
};

// Runs to the end. PREFIXD_SERVER and the like are not inherited.
RunResult RunPrefixctl(const std::vector<std::string>& arguments, const std::string& input = "");

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_CLIENT_RUN_PREFIXCTL_H_
