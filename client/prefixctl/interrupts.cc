#include "client/prefixctl/interrupts.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"
#include "client/prefixctl/exit_code.h"

namespace prefixd::ctl {

Interrupts::Interrupts() {
  struct sigaction present {};
  PREFIXD_CHECK(sigaction(SIGINT, nullptr, &present) == 0);
  if (present.sa_handler == SIG_IGN) return;
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  PREFIXD_CHECK(pthread_sigmask(SIG_BLOCK, &mask, nullptr) == 0);
  signal_fd_ = signalfd(-1, &mask, SFD_CLOEXEC);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  PREFIXD_CHECK(signal_fd_ >= 0 && stop_fd_ >= 0);
  thread_ = std::jthread([this] { Wait(); });
}

Interrupts::~Interrupts() {
  if (!thread_.joinable()) return;
  PREFIXD_CHECK(eventfd_write(stop_fd_, 1) == 0);
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void Interrupts::Wait() {
  pollfd fds[] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
  while (true) {
    if (poll(fds, 2, -1) < 0) continue;  // EINTR.
    if (fds[1].revents != 0) return;
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) == sizeof(info)) OnInterrupt();
  }
}

void Interrupts::OnInterrupt() {
  std::function<void()> cancel;
  {
    MutexLock lock(&mutex_);
    // Streams and channels are left to the kernel: closing the connection cancels the call.
    if (!cancel_ || interrupted_) _exit(kExitInterrupted);
    interrupted_ = true;
    cancel = cancel_;
  }
  cancel();
}

Interrupts::Scope::Scope(Interrupts* interrupts, std::function<void()> cancel)
    : interrupts_(interrupts) {
  MutexLock lock(&interrupts_->mutex_);
  PREFIXD_CHECK(!interrupts_->cancel_);
  interrupts_->cancel_ = std::move(cancel);
  interrupts_->interrupted_ = false;
}

Interrupts::Scope::~Scope() {
  MutexLock lock(&interrupts_->mutex_);
  interrupts_->cancel_ = nullptr;
}

bool Interrupts::Scope::interrupted() const {
  MutexLock lock(&interrupts_->mutex_);
  return interrupts_->interrupted_;
}

}  // namespace prefixd::ctl
