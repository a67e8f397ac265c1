#include "engine/watchdog.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "engine/histograms.h"

namespace prefixd {
namespace {

constexpr int kStallFactor = 10;  // Times the 99th percentile.
constexpr int kLooksPerTime = 8;  // How often it looks within the least time.

int64_t Now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The upper bound of the bucket that holds the 99th percentile, seconds; the largest bound if it is
// above all.
double Percentile99(const Histogram& histogram) {
  uint64_t seen = 0;
  for (size_t i = 0; i < histogram.bounds().size(); ++i) {
    seen += histogram.counts()[i];
    if (100 * seen >= 99 * histogram.count()) return histogram.bounds()[i];
  }
  return histogram.bounds().back();
}

}  // namespace

Watchdog::Watchdog(absl::Duration least, std::function<void(absl::Duration)> on_hang)
    : least_ns_(absl::ToInt64Nanoseconds(least)),
      on_hang_(std::move(on_hang)),
      step_seconds_(histogram_bounds::FirstToken()),
      limit_ns_(least_ns_),
      thread_([this] { Watch(); }) {}

Watchdog::~Watchdog() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

void Watchdog::BeginStep() { begun_ns_ = Now(); }

void Watchdog::EndStep() {
  const double seconds = static_cast<double>(Now() - begun_ns_) * 1e-9;
  begun_ns_ = 0;
  step_seconds_.Observe(seconds);
  const double usual = kStallFactor * Percentile99(step_seconds_);
  limit_ns_ = std::max(least_ns_, static_cast<int64_t>(usual * 1e9));
}

bool Watchdog::IsHanging(int64_t now) const {
  const int64_t begun = begun_ns_;
  return begun != 0 && now - begun > limit_ns_;
}

void Watchdog::Watch() {
  const absl::Duration period =
      absl::Nanoseconds(std::max<int64_t>(least_ns_ / kLooksPerTime, 1'000'000));
  const auto stopped = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_; };
  while (true) {
    {
      MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(stopped, period);
      if (stop_) return;
    }
    const int64_t begun = begun_ns_;
    if (!IsHanging(Now())) continue;
    hung_ = true;
    on_hang_(absl::Nanoseconds(Now() - begun));
    return;
  }
}

}  // namespace prefixd
