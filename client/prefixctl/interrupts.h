// Ctrl-C. The first one during a call cancels the call; a second one, or one while nothing can be
// cancelled, ends the process with 130. SIGINT is blocked in every thread and taken by a thread of
// this class, so no code runs inside a signal handler.
#ifndef PREFIXD_CLIENT_PREFIXCTL_INTERRUPTS_H_
#define PREFIXD_CLIENT_PREFIXCTL_INTERRUPTS_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"

namespace prefixd::ctl {

// Thread-safe. Requires: made before any other thread starts; at most one lives.
class Interrupts {
 public:
  // Does nothing if the process was started with SIGINT ignored (as by nohup or a script's `&`).
  Interrupts();
  ~Interrupts();

  // While one lives, the first Ctrl-C calls `cancel` (on the thread of Interrupts) instead of
  // ending the process. At most one lives at a time.
  class Scope {
   public:
    Scope(Interrupts* interrupts, std::function<void()> cancel);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

    bool interrupted() const;

   private:
    Interrupts* const interrupts_;
  };

 private:
  void Wait();
  void OnInterrupt();

  int signal_fd_ = -1;
  int stop_fd_ = -1;
  mutable Mutex mutex_;
  // Empty: nothing can be cancelled.
  std::function<void()> cancel_ ABSL_GUARDED_BY(mutex_);
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_INTERRUPTS_H_
