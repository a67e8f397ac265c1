// Reads lines from a terminal with editing and a history in memory (libedit). One thread.
#ifndef PREFIXD_CLIENT_PREFIXCTL_LINE_EDITOR_H_
#define PREFIXD_CLIENT_PREFIXCTL_LINE_EDITOR_H_

#include <memory>
#include <string>

namespace prefixd::ctl {

class LineEditor {
 public:
  enum class Result { kLine, kInterrupted, kEnd };

  LineEditor();
  ~LineEditor();

  // Shows `prompt` and reads a line, without its line feed, into `line`. Returns kInterrupted for
  // Ctrl-C and kEnd for Ctrl-D on an empty line or the end of input.
  Result Read(const std::string& prompt, std::string* line);

  // Offers `line` to the arrow keys from now on.
  void Remember(const std::string& line);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_LINE_EDITOR_H_
