// Watches what a KV budget costs: a sampled share of the requests that ran under a *default* budget
// is computed again at full KV when the engine is idle, token by token over the same output, and
// compared. When the answers drift too far, the default budget is raised (docs/decisions.md, rule
// 21). This is the arithmetic of it; StepLoop runs the replays. Engine thread only.
#ifndef PREFIXD_ENGINE_QUALITY_GUARD_H_
#define PREFIXD_ENGINE_QUALITY_GUARD_H_

#include <cstddef>
#include <cstdint>
#include <deque>

namespace prefixd {

struct GuardOptions {
  double sample_rate = 0.0;
  double min_agreement = 0.9;
  double max_drift = 0.2;
  double budget_step = 0.1;
};

// One replay against what was served.
struct GuardComparison {
  int32_t tokens = 0;        // Of the output that were compared, >= 1.
  int32_t agreements = 0;    // Places where full KV ranks the same token first.
  double logprob_drift = 0;  // Sum over the tokens of |log p(full) - log p(served)|, nats.
};

class QualityGuard {
 public:
  static constexpr size_t kWindow = 32;     // Replays that count.
  static constexpr size_t kMinReplays = 8;  // Fewer decide nothing.

  // `budget`: the default budget at the start.
  QualityGuard(const GuardOptions& options, double budget);

  // Whether the next request under a default budget is sampled: every 1 / sample_rate-th, evenly.
  bool Sample();

  // Takes a replay into account. Returns whether the default budget was raised: by one step, at
  // most to 1; the window starts empty again then.
  bool Add(const GuardComparison& comparison);

  double budget() const { return budget_; }
  double agreement() const;  // Of the window, by tokens; 1 if it is empty.
  double drift() const;      // Of the window, nats a token; 0 if it is empty.
  // The same of the window that the last Add judged, also if it is empty again.
  double judged_agreement() const { return judged_agreement_; }
  double judged_drift() const { return judged_drift_; }
  uint64_t sampled() const { return sampled_; }
  uint64_t replayed() const { return replayed_; }
  uint64_t raises() const { return raises_; }

 private:
  const GuardOptions options_;
  double budget_;
  double due_ = 0;  // Requests to be sampled, in part.
  std::deque<GuardComparison> window_;
  double judged_agreement_ = 1.0, judged_drift_ = 0.0;
  uint64_t sampled_ = 0, replayed_ = 0, raises_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_QUALITY_GUARD_H_
