#include "server/stop_signal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/log.h"

namespace prefixd {
namespace {

sigset_t HandledSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

}  // namespace

void StopSignal::Raise() {
  MutexLock lock(&mutex_);
  ++count_;
}

int StopSignal::count() const {
  MutexLock lock(&mutex_);
  return count_;
}

void StopSignal::RaiseReload() {
  MutexLock lock(&mutex_);
  reload_ = true;
}

bool StopSignal::TakeReload() {
  MutexLock lock(&mutex_);
  return std::exchange(reload_, false);
}

bool StopSignal::Wait(int count, absl::Duration timeout, const bool* also) {
  MutexLock lock(&mutex_);
  const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return count_ >= count || (also != nullptr && *also);
  };
  mutex_.AwaitWithTimeout(done, timeout);
  return count_ >= count;
}

void StopSignal::SetAndWake(bool* flag) {
  MutexLock lock(&mutex_);
  *flag = true;
}

void SignalThread::BlockSignals() {
  const sigset_t signals = HandledSignals();
  PREFIXD_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  signal(SIGPIPE, SIG_IGN);
}

SignalThread::SignalThread(StopSignal* stop) : stop_(*stop) {
  const sigset_t signals = HandledSignals();
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC);
  wake_fd_ = eventfd(0, EFD_CLOEXEC);
  PREFIXD_CHECK(signal_fd_ >= 0 && wake_fd_ >= 0);
  thread_ = std::thread([this] { Run(); });
}

SignalThread::~SignalThread() {
  const uint64_t one = 1;
  PREFIXD_CHECK(write(wake_fd_, &one, sizeof(one)) == sizeof(one));
  thread_.join();
  close(signal_fd_);
  close(wake_fd_);
}

void SignalThread::Run() {
  while (true) {
    pollfd fds[] = {{.fd = signal_fd_, .events = POLLIN}, {.fd = wake_fd_, .events = POLLIN}};
    if (poll(fds, 2, -1) < 0) continue;  // EINTR only: both descriptors are ours.
    if (fds[1].revents != 0) return;
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) != sizeof(info)) continue;
    if (info.ssi_signo == SIGHUP) {
      PREFIXD_LOG(kInfo, "signal SIGHUP");
      stop_.RaiseReload();
      continue;
    }
    PREFIXD_LOG(kInfo, "signal ", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
    stop_.Raise();
  }
}

}  // namespace prefixd
