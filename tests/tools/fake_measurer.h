// Answers measurements by a function of the task, in an order that a seed shuffles, and can fail
// after so many.
#ifndef PREFIXD_TESTS_TOOLS_FAKE_MEASURER_H_
#define PREFIXD_TESTS_TOOLS_FAKE_MEASURER_H_

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "tools/measurer.h"

namespace prefixd::testing {

class FakeMeasurer final : public Measurer {
 public:
  using Answer = std::function<Measured(const MeasureTask&)>;

  explicit FakeMeasurer(Answer answer, uint32_t seed = 1)
      : answer_(std::move(answer)), random_(seed) {}

  void FailAfter(size_t tasks) { left_ = tasks; }
  // Tasks answered so far.
  size_t answered() const { return answered_; }

  absl::Status Run(absl::Span<const MeasureTask> tasks, Done done) override {
    std::vector<size_t> order(tasks.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    for (const size_t task : order) {
      if (left_-- == 0) return absl::UnavailableError("interrupted");
      ++answered_;
      PREFIXD_RETURN_IF_ERROR(done(task, answer_(tasks[task])));
    }
    return absl::OkStatus();
  }

 private:
  const Answer answer_;
  std::mt19937 random_;
  size_t left_ = static_cast<size_t>(-1);
  size_t answered_ = 0;
};

}  // namespace prefixd::testing

#endif  // PREFIXD_TESTS_TOOLS_FAKE_MEASURER_H_
