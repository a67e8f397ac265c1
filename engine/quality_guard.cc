#include "engine/quality_guard.h"

#include "base/check.h"

namespace prefixd {
namespace {

// Sums of rates and of budget steps are not exact in binary.
constexpr double kRounding = 1e-9;

}  // namespace

QualityGuard::QualityGuard(const GuardOptions& options, double budget)
    : options_(options), budget_(budget) {
  PREFIXD_CHECK(budget > 0 && budget <= 1);
}

bool QualityGuard::Sample() {
  due_ += options_.sample_rate;
  if (due_ < 1.0 - kRounding) return false;
  due_ -= 1.0;
  ++sampled_;
  return true;
}

bool QualityGuard::Add(const GuardComparison& comparison) {
  PREFIXD_CHECK(comparison.tokens >= 1);
  ++replayed_;
  window_.push_back(comparison);
  if (window_.size() > kWindow) window_.pop_front();
  judged_agreement_ = agreement();
  judged_drift_ = drift();
  if (window_.size() < kMinReplays || budget_ >= 1.0) return false;
  // Written so that a drift that is not a number counts as too large.
  const bool good =
      judged_agreement_ >= options_.min_agreement && judged_drift_ <= options_.max_drift;
  if (good) return false;
  budget_ += options_.budget_step;
  if (budget_ > 1.0 - kRounding) budget_ = 1.0;
  window_.clear();
  ++raises_;
  return true;
}

double QualityGuard::agreement() const {
  int64_t tokens = 0, agreements = 0;
  for (const GuardComparison& replay : window_) {
    tokens += replay.tokens;
    agreements += replay.agreements;
  }
  return tokens == 0 ? 1.0 : static_cast<double>(agreements) / static_cast<double>(tokens);
}

double QualityGuard::drift() const {
  int64_t tokens = 0;
  double drift = 0;
  for (const GuardComparison& replay : window_) {
    tokens += replay.tokens;
    drift += replay.logprob_drift;
  }
  return tokens == 0 ? 0.0 : drift / static_cast<double>(tokens);
}

}  // namespace prefixd
