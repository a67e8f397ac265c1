// Requests to stop or to reload, from signals, tests or the daemon itself. Thread-safe.
#ifndef PREFIXD_SERVER_STOP_SIGNAL_H_
#define PREFIXD_SERVER_STOP_SIGNAL_H_

#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace prefixd {

class StopSignal {
 public:
  // Counts one request to stop.
  void Raise();
  int count() const;

  // Asks to read reloadable files again.
  void RaiseReload();
  // Whether that was asked since the last call.
  bool TakeReload();

  // Waits until `count` requests came, `also` is true (if not null) or `timeout` has passed.
  // Returns whether the requests came. `also` is only changed by SetAndWake.
  bool Wait(int count, absl::Duration timeout, const bool* also = nullptr);

  // Sets a flag that another thread waits for with Wait.
  void SetAndWake(bool* flag);

 private:
  mutable Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
  bool reload_ ABSL_GUARDED_BY(mutex_) = false;
};

// Turns SIGTERM and SIGINT into requests to stop, SIGHUP into one to reload, in a thread of its
// own.
class SignalThread {
 public:
  // Blocks the signals in this thread and those it starts. Call it before any thread starts.
  static void BlockSignals();

  // `stop` must outlive the thread.
  explicit SignalThread(StopSignal* stop);
  ~SignalThread();

 private:
  void Run();

  StopSignal& stop_;
  int signal_fd_ = -1;
  int wake_fd_ = -1;  // Readable: the thread ends.
  std::thread thread_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_STOP_SIGNAL_H_
