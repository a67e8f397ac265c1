// Where time comes from. Monotonic: a step of the wall clock never fires or delays a deadline.
// Thread-safe.
#ifndef PREFIXD_BASE_CLOCK_H_
#define PREFIXD_BASE_CLOCK_H_

#include <atomic>

#include "absl/time/time.h"

namespace prefixd {

class Clock {
 public:
  virtual ~Clock() = default;

  // A monotonic time point. Only differences and comparisons between values of one clock mean
  // anything; absl::InfiniteFuture() stands for "no deadline".
  virtual absl::Time Now() const = 0;
};

// The machine's monotonic clock.
class MonotonicClock final : public Clock {
 public:
  absl::Time Now() const override;
};

// A clock that tests move by hand.
class ManualClock final : public Clock {
 public:
  absl::Time Now() const override { return absl::FromUnixNanos(nanos_.load()); }
  void Advance(absl::Duration by) { nanos_.fetch_add(absl::ToInt64Nanoseconds(by)); }

 private:
  std::atomic<int64_t> nanos_{1'000'000'000};
};

}  // namespace prefixd

#endif  // PREFIXD_BASE_CLOCK_H_
