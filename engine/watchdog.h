// Notices a step that hangs: one that takes longer than ten times the 99th percentile of those
// before it, and than a given time at least. A device that stopped answering holds the engine
// thread for ever; somebody else must say so.
//
// Threads: BeginStep and EndStep belong to the watched thread; hung() to any.
#ifndef PREFIXD_ENGINE_WATCHDOG_H_
#define PREFIXD_ENGINE_WATCHDOG_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/histogram.h"
#include "base/mutex.h"

namespace prefixd {

class Watchdog {
 public:
  // Calls `on_hang` once, in a thread of its own, with the time that the step has taken so far.
  Watchdog(absl::Duration least, std::function<void(absl::Duration)> on_hang);
  ~Watchdog();

  void BeginStep();
  void EndStep();

  bool hung() const { return hung_; }

 private:
  void Watch();
  bool IsHanging(int64_t now) const;

  const int64_t least_ns_;
  const std::function<void(absl::Duration)> on_hang_;
  Histogram step_seconds_;                 // Of the watched thread.
  std::atomic<int64_t> begun_ns_{0};       // Of the step under way; 0: none.
  std::atomic<int64_t> limit_ns_;
  std::atomic<bool> hung_{false};
  Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_WATCHDOG_H_
