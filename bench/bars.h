// What a figure of a benchmark must reach.
#ifndef PREFIXD_BENCH_BARS_H_
#define PREFIXD_BENCH_BARS_H_

#include <string>

namespace prefixd {

// Prints a value beside its bar, and remembers whether any was missed.
class Bars {
 public:
  void AtMost(const std::string& what, double value, double bar);
  void AtLeast(const std::string& what, double value, double bar);
  bool missed() const { return missed_; }

 private:
  void Print(const std::string& what, double value, const char* relation, double bar, bool kept);

  bool missed_ = false;
};

}  // namespace prefixd

#endif  // PREFIXD_BENCH_BARS_H_
