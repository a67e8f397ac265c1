// Counts of observations by size. A plain value: one writer, copied for readers.
#ifndef PREFIXD_BASE_HISTOGRAM_H_
#define PREFIXD_BASE_HISTOGRAM_H_

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace prefixd {

class Histogram {
 public:
  Histogram() : Histogram(std::vector<double>{}) {}
  // `bounds`: inclusive upper bounds, ascending. One more bucket takes what is above all.
  explicit Histogram(std::vector<double> bounds)
      : bounds_(std::move(bounds)), counts_(bounds_.size() + 1) {}

  void Observe(double value, uint64_t times = 1) {
    const auto it = std::lower_bound(bounds_.begin(), bounds_.end(), value);
    counts_[static_cast<size_t>(it - bounds_.begin())] += times;
    count_ += times;
    sum_ += value * static_cast<double>(times);
  }

  const std::vector<double>& bounds() const { return bounds_; }
  const std::vector<uint64_t>& counts() const { return counts_; }  // By bucket, not cumulative.
  uint64_t count() const { return count_; }
  double sum() const { return sum_; }

 private:
  std::vector<double> bounds_;
  std::vector<uint64_t> counts_;
  uint64_t count_ = 0;
  double sum_ = 0;
};

}  // namespace prefixd

#endif  // PREFIXD_BASE_HISTOGRAM_H_
