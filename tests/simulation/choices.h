// Where the random numbers of a run come from. Each component draws from a substream of its own, so
// that one more draw for a fault does not change the workload. What is drawn ends up in a Scenario:
// a run itself draws nothing, and replaying or shrinking one means handing it other numbers.
#ifndef PREFIXD_TESTS_SIMULATION_CHOICES_H_
#define PREFIXD_TESTS_SIMULATION_CHOICES_H_

#include <cstdint>

#include "absl/types/span.h"

namespace prefixd::simulation {

enum class Component : uint64_t { kConfig, kTenants, kWorkload, kFaults, kDurations };

class Choices {
 public:
  Choices(uint64_t seed, Component component);

  // Uniform in [low, high]. Requires: low <= high.
  int64_t Between(int64_t low, int64_t high);
  // Few large values: uniform on a logarithmic scale. Requires: 1 <= low <= high.
  int64_t Logarithmic(int64_t low, int64_t high);
  // True in `percent` of 100 cases.
  bool Percent(int64_t percent) { return Between(0, 99) < percent; }
  // One of `values`. Requires: not empty.
  int64_t OneOf(absl::Span<const int64_t> values);

 private:
  uint64_t Next();

  uint64_t state_;
};

// A bijection of 64 bits that looks random (splitmix64; Steele, Lea and Flood, OOPSLA 2014).
inline uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

}  // namespace prefixd::simulation

#endif  // PREFIXD_TESTS_SIMULATION_CHOICES_H_
