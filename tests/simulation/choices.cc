#include "tests/simulation/choices.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace prefixd::simulation {

Choices::Choices(uint64_t seed, Component component)
    : state_(Mix(Mix(seed) ^ (static_cast<uint64_t>(component) + 1))) {}

uint64_t Choices::Next() {
  state_ += 0x9E3779B97F4A7C15u;
  return Mix(state_);
}

int64_t Choices::Between(int64_t low, int64_t high) {
  PREFIXD_CHECK(low <= high);
  const uint64_t count = static_cast<uint64_t>(high - low) + 1;
  return low + static_cast<int64_t>((static_cast<unsigned __int128>(Next()) * count) >> 64);
}

int64_t Choices::Logarithmic(int64_t low, int64_t high) {
  PREFIXD_CHECK(1 <= low && low <= high);
  const double uniform = static_cast<double>(Next() >> 11) * 0x1p-53;
  const double ratio = static_cast<double>(high) / static_cast<double>(low);
  const double value = static_cast<double>(low) * std::pow(ratio, uniform);
  return std::clamp(static_cast<int64_t>(std::llround(value)), low, high);
}

int64_t Choices::OneOf(absl::Span<const int64_t> values) {
  return values[Between(0, static_cast<int64_t>(values.size()) - 1)];
}

}  // namespace prefixd::simulation
