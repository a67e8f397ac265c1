// The terminal as one screen: another buffer, no cursor, keys without Enter. Whatever ends the
// process gives the terminal back as it was: the destructor, a signal, a failed check.
#ifndef PREFIXD_CLIENT_PREFIXCTL_FULL_SCREEN_H_
#define PREFIXD_CLIENT_PREFIXCTL_FULL_SCREEN_H_

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace prefixd::ctl {

// One thread, but for Interrupt. At most one lives. Requires: stdout is a terminal.
class FullScreen {
 public:
  FullScreen();
  ~FullScreen();
  FullScreen(const FullScreen&) = delete;
  FullScreen& operator=(const FullScreen&) = delete;

  struct Size {
    int columns = 80, rows = 24;
  };
  Size size() const;

  // Shows `lines` from the top and nothing else. False if the terminal is gone.
  bool Draw(const std::vector<std::string>& lines);

  enum class Input { kTimeout, kKey, kResize, kInterrupt, kGone };
  // Waits for up to `timeout`. With kKey `key` is the byte that was typed; Ctrl-C is kInterrupt.
  Input Wait(absl::Duration timeout, char* key);

  // Gives the terminal back at once and makes Wait return kInterrupt. Thread-safe.
  void Interrupt();

 private:
  bool keys_ = false;  // stdin is a terminal.
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_FULL_SCREEN_H_
