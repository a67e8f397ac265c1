// Size arithmetic on numbers from outside: every product and sum says whether it fits.
#ifndef PREFIXD_BASE_CHECKED_MATH_H_
#define PREFIXD_BASE_CHECKED_MATH_H_

#include <cstdint>
#include <optional>

namespace prefixd {

// Returns a * b, or nullopt when it does not fit.
inline std::optional<uint64_t> CheckedMul(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// Returns a + b, or nullopt when it does not fit.
inline std::optional<uint64_t> CheckedAdd(uint64_t a, uint64_t b) {
  uint64_t result;
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}

}  // namespace prefixd

#endif  // PREFIXD_BASE_CHECKED_MATH_H_
