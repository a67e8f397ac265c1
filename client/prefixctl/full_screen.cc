#include "client/prefixctl/full_screen.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace prefixd::ctl {
namespace {

constexpr char kEnter[] = "\033[?1049h\033[?25l";
constexpr char kLeave[] = "\033[0m\033[?25h\033[?1049l";
constexpr char kResized = 'r', kInterrupted = 'i';
constexpr char kCtrlC = 3;

// What ends the process and can be caught.
constexpr int kFatal[] = {SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
constexpr int kAll[] = {SIGTERM, SIGHUP, SIGQUIT, SIGABRT,  SIGSEGV,
                        SIGBUS,  SIGFPE, SIGILL,  SIGWINCH, SIGTSTP};

// For signal handlers, which take no argument of ours. Set before `active`.
std::atomic<bool> active{false};  // The terminal is ours and must be given back.
bool raw = false;
termios saved;
int wake[2] = {-1, -1};
struct sigaction previous[std::size(kAll)];

// Async-signal-safe. The first call acts.
void Restore() {
  if (!active.exchange(false)) return;
  if (raw) tcsetattr(STDIN_FILENO, TCSANOW, &saved);
  (void)!write(STDOUT_FILENO, kLeave, sizeof(kLeave) - 1);
}

void OnSignal(int signal_number) {
  const int error = errno;
  if (signal_number == SIGWINCH) {
    (void)!write(wake[1], &kResized, 1);
  } else if (signal_number != SIGTSTP) {  // A stopped program would leave the screen behind.
    Restore();
    struct sigaction by_default {};
    by_default.sa_handler = SIG_DFL;
    sigaction(signal_number, &by_default, nullptr);
    raise(signal_number);  // Delivered on return, so that the parent sees it.
  }
  errno = error;
}

// False if the terminal is gone.
bool WriteAll(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    text.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

}  // namespace

FullScreen::FullScreen() {
  PREFIXD_CHECK(!active && wake[0] < 0);
  PREFIXD_CHECK(pipe2(wake, O_CLOEXEC | O_NONBLOCK) == 0);
  keys_ = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &saved) == 0;
  raw = keys_;
  active = true;
  struct sigaction action {};
  action.sa_handler = &OnSignal;
  action.sa_flags = SA_RESTART;
  for (size_t i = 0; i < std::size(kAll); ++i) {
    sigaction(kAll[i], nullptr, &previous[i]);
    const bool ignored = previous[i].sa_handler == SIG_IGN;  // As by nohup.
    const bool fatal = std::find(std::begin(kFatal), std::end(kFatal), kAll[i]) != std::end(kFatal);
    if (!(ignored && fatal)) sigaction(kAll[i], &action, nullptr);
  }
  if (keys_) {
    termios mode = saved;
    mode.c_lflag &= static_cast<tcflag_t>(~(ICANON | ECHO | ISIG));
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &mode);
  }
  WriteAll(kEnter);
}

FullScreen::~FullScreen() {
  Restore();
  for (size_t i = 0; i < std::size(kAll); ++i) sigaction(kAll[i], &previous[i], nullptr);
  for (int& fd : wake) {
    close(fd);
    fd = -1;
  }
}

FullScreen::Size FullScreen::size() const {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {};
  }
  return {.columns = size.ws_col, .rows = size.ws_row};
}

bool FullScreen::Draw(const std::vector<std::string>& lines) {
  if (!active) return true;  // Given back already; Wait says why.
  // In one write, each line cleared after its text: nothing flickers.
  std::string out = "\033[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    absl::StrAppend(&out, i == 0 ? "" : "\n", lines[i], "\033[K");
  }
  absl::StrAppend(&out, "\033[J");
  return WriteAll(out);
}

FullScreen::Input FullScreen::Wait(absl::Duration timeout, char* key) {
  pollfd fds[] = {{wake[0], POLLIN, 0}, {keys_ ? STDIN_FILENO : -1, POLLIN, 0}};
  const int64_t ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout), 0, 1 << 30);
  // A caught signal is told by the pipe, at the next call.
  const int ready = poll(fds, 2, static_cast<int>(ms));
  if (ready < 0) return errno == EINTR ? Input::kResize : Input::kGone;
  if (fds[0].revents != 0) {
    char reasons[64];
    const ssize_t n = read(wake[0], reasons, sizeof(reasons));
    for (ssize_t i = 0; i < n; ++i) {
      if (reasons[i] == kInterrupted) return Input::kInterrupt;
    }
    return Input::kResize;
  }
  if (fds[1].revents == 0) return Input::kTimeout;
  if (read(STDIN_FILENO, key, 1) != 1) return Input::kGone;
  return *key == kCtrlC ? Input::kInterrupt : Input::kKey;
}

void FullScreen::Interrupt() {
  Restore();
  (void)!write(wake[1], &kInterrupted, 1);
}

}  // namespace prefixd::ctl
