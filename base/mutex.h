// A mutex that can wait for a condition on what it guards. Built on std::mutex, which
// ThreadSanitizer understands also where abseil is a system library that was built without it.
// Annotated for clang's thread-safety analysis. Thread-safe.
#ifndef PREFIXD_BASE_MUTEX_H_
#define PREFIXD_BASE_MUTEX_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"

namespace prefixd {

class ABSL_LOCKABLE Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void Lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  // Wakes those who wait for a condition: what is guarded may have changed.
  void Unlock() ABSL_UNLOCK_FUNCTION() {
    // With the mutex still held: a waiter may destroy this object as soon as it has it.
    if (num_waiting_ > 0) changed_.notify_all();
    mutex_.unlock();
  }

  // Waits until `condition()`, which is evaluated with the mutex held. Requires: held by the
  // caller.
  template <typename Condition>
  void Await(Condition condition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    AwaitWithTimeout(condition, absl::InfiniteDuration());
  }

  // As Await, for at most `timeout`. Returns whether the condition holds.
  template <typename Condition>
  bool AwaitWithTimeout(Condition condition, absl::Duration timeout)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(this) {
    std::unique_lock<std::mutex> lock(mutex_, std::adopt_lock);
    ++num_waiting_;
    bool holds = true;
    if (timeout > kLongestWait) {
      changed_.wait(lock, condition);
    } else {
      holds = changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), condition);
    }
    --num_waiting_;
    lock.release();  // Still held, by the caller.
    return holds;
  }

 private:
  // Beyond it the arithmetic of clocks could overflow.
  static constexpr absl::Duration kLongestWait = absl::Hours(24 * 365);

  std::mutex mutex_;
  std::condition_variable changed_;
  int num_waiting_ = 0;  // Guarded by mutex_.
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex* mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_->Lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_->Unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex* const mutex_;
};

}  // namespace prefixd

#endif  // PREFIXD_BASE_MUTEX_H_
