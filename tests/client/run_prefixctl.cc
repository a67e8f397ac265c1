#include "tests/client/run_prefixctl.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"

namespace prefixd::testing {
namespace {

constexpr char kProgram[] = PREFIXD_BINARY_DIR "/bin/prefixctl";

// Argument and environment lists for exec, whose strings live as long as this object.
struct Launch {
  explicit Launch(const std::vector<std::string>& arguments) : words(arguments) {
    argv.push_back(const_cast<char*>(kProgram));
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    for (const char* name : {"ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}) {
      const char* const value = getenv(name);
      if (value != nullptr) variables.push_back(std::string(name) + "=" + value);
    }
    for (std::string& variable : variables) environment.push_back(variable.data());
    environment.push_back(nullptr);
  }

  std::vector<std::string> words;
  std::vector<char*> argv;
  // Nothing of the caller's but what a sanitizer is told.
  std::vector<std::string> variables = {"LC_ALL=C.UTF-8", "TERM=vt100"};
  std::vector<char*> environment;
};

// A file without a name that holds `text`, at its beginning.
int FileWith(const std::string& text) {
  char name[] = "/tmp/prefixctl_input_XXXXXX";
  const int fd = mkostemp(name, O_CLOEXEC);
  PREFIXD_CHECK(fd >= 0 && unlink(name) == 0);
  PREFIXD_CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  PREFIXD_CHECK(lseek(fd, 0, SEEK_SET) == 0);
  return fd;
}

}  // namespace

Prefixctl::Prefixctl(const std::vector<std::string>& arguments, const std::string& input) {
  int out[2], err[2];
  PREFIXD_CHECK(pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0);
  const int in = FileWith(input);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  // A test runner in the background may ignore SIGINT; the program must not inherit that.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGINT);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  Launch launch(arguments);
  PREFIXD_CHECK(posix_spawn(&pid_, kProgram, &actions, &attributes, launch.argv.data(),
                            launch.environment.data()) == 0);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(in);
  close(out[1]);
  close(err[1]);
  out_ = out[0];
  err_ = err[0];
}

Prefixctl Prefixctl::OnTerminal(const std::vector<std::string>& arguments, int columns) {
  Prefixctl program;
  Launch launch(arguments);
  winsize size{};
  size.ws_row = 24;
  size.ws_col = static_cast<unsigned short>(columns);
  program.pid_ = forkpty(&program.out_, nullptr, nullptr, &size);
  PREFIXD_CHECK(program.pid_ >= 0);
  if (program.pid_ == 0) {
    signal(SIGINT, SIG_DFL);
    execve(kProgram, launch.argv.data(), launch.environment.data());
    _exit(127);
  }
  fcntl(program.out_, F_SETFD, FD_CLOEXEC);
  return program;
}

Prefixctl::Prefixctl(Prefixctl&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      out_(std::exchange(other.out_, -1)),
      err_(std::exchange(other.err_, -1)),
      seen_(other.seen_),
      result_(std::move(other.result_)) {}

Prefixctl::~Prefixctl() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (out_ >= 0) close(out_);
  if (err_ >= 0) close(err_);
}

void Prefixctl::Type(const std::string& text) const {
  PREFIXD_CHECK(write(out_, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

void Prefixctl::Signal(int signal) const {
  PREFIXD_CHECK(pid_ > 0);  // kill(-1) would reach every process.
  kill(pid_, signal);
}

void Prefixctl::Resize(int columns, int rows) const {
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  PREFIXD_CHECK(ioctl(out_, TIOCSWINSZ, &size) == 0);
}

bool Prefixctl::InLineMode() const {
  termios mode{};
  PREFIXD_CHECK(tcgetattr(out_, &mode) == 0);
  return (mode.c_lflag & ICANON) != 0 && (mode.c_lflag & ECHO) != 0 && (mode.c_lflag & ISIG) != 0;
}

bool Prefixctl::Pump(absl::Duration timeout) {
  pollfd fds[] = {{out_, POLLIN, 0}, {err_, POLLIN, 0}};
  poll(fds, 2, static_cast<int>(absl::ToInt64Milliseconds(timeout)));
  std::string* const texts[] = {&result_.out, &result_.err};
  int* const streams[] = {&out_, &err_};
  for (int i = 0; i < 2; ++i) {
    if (fds[i].fd < 0 || fds[i].revents == 0) continue;
    char buffer[4096];
    const ssize_t n = read(fds[i].fd, buffer, sizeof(buffer));
    if (n > 0) {
      texts[i]->append(buffer, static_cast<size_t>(n));
    } else {
      close(std::exchange(*streams[i], -1));
    }
  }
  return out_ >= 0 || err_ >= 0;
}

bool Prefixctl::WaitFor(const std::string& text) {
  const absl::Time end = absl::Now() + absl::Seconds(10);
  bool open = true;
  while (true) {
    const size_t at = result_.out.find(text, seen_);
    if (at != std::string::npos) {
      seen_ = at + text.size();
      return true;
    }
    if (!open || absl::Now() > end) return false;
    open = Pump(absl::Milliseconds(100));
  }
}

RunResult Prefixctl::Wait() {
  const absl::Time end = absl::Now() + absl::Seconds(20);
  while (Pump(absl::Milliseconds(100))) {
    if (absl::Now() > end) {
      ADD_FAILURE() << "prefixctl does not end; it said: " << result_.out << result_.err;
      kill(pid_, SIGKILL);
      break;
    }
  }
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  result_.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return result_;
}

RunResult RunPrefixctl(const std::vector<std::string>& arguments, const std::string& input) {
  return Prefixctl(arguments, input).Wait();
}

}  // namespace prefixd::testing
