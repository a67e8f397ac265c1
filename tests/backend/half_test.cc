#include "engine/tensor/half.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>

#include <gtest/gtest.h>

namespace prefixd {
namespace {

// Rounds to `bits` bits of mantissa (the hidden one included) with exponents from `min_exponent`
// on, nearest even, by the definition: exact scaling and rint in double.
double RoundByDefinition(float value, int bits, int min_exponent) {
  if (value == 0 || !std::isfinite(value)) return value;
  const int exponent = std::max(std::ilogb(value), min_exponent);
  const double unit = std::ldexp(1.0, exponent - bits + 1);
  return std::rint(value / unit) * unit;
}

float ExpectedF16(float value) {
  const double rounded = RoundByDefinition(value, 11, -14);
  return std::fabs(rounded) > 65504 ? std::copysign(INFINITY, value) : static_cast<float>(rounded);
}

float ExpectedBF16(float value) {
  return static_cast<float>(RoundByDefinition(value, 8, -126));  // Overflows to infinity.
}

void ExpectRoundsLikeTheDefinition(uint32_t bits) {
  const float value = std::bit_cast<float>(bits);
  if (std::isnan(value)) {
    ASSERT_TRUE(std::isnan(F16ToFloat(FloatToF16(value)))) << std::hex << bits;
    ASSERT_TRUE(std::isnan(BF16ToFloat(FloatToBF16(value)))) << std::hex << bits;
    return;
  }
  const float f16 = F16ToFloat(FloatToF16(value));
  const float bf16 = BF16ToFloat(FloatToBF16(value));
  ASSERT_EQ(std::bit_cast<uint32_t>(f16), std::bit_cast<uint32_t>(ExpectedF16(value)))
      << std::hex << bits;
  ASSERT_EQ(std::bit_cast<uint32_t>(bf16), std::bit_cast<uint32_t>(ExpectedBF16(value)))
      << std::hex << bits;
}

TEST(Half, WidensEveryF16) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const int exponent = bits >> 10 & 31;
    const int mantissa = bits & 1023;
    const float value = F16ToFloat(static_cast<uint16_t>(bits));
    if (exponent == 31 && mantissa != 0) {
      ASSERT_TRUE(std::isnan(value)) << bits;
      continue;
    }
    double expected = exponent == 0    ? std::ldexp(mantissa, -24)
                      : exponent == 31 ? INFINITY
                                       : std::ldexp(1024 + mantissa, exponent - 25);
    if (bits & 0x8000) expected = -expected;
    ASSERT_EQ(value, expected) << bits;
    ASSERT_EQ(std::signbit(value), (bits & 0x8000) != 0) << bits;
  }
}

TEST(Half, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const uint16_t half = static_cast<uint16_t>(bits);
    if (!std::isnan(F16ToFloat(half))) {
      ASSERT_EQ(FloatToF16(F16ToFloat(half)), half);
    }
    if (!std::isnan(BF16ToFloat(half))) {
      ASSERT_EQ(FloatToBF16(BF16ToFloat(half)), half);
    }
  }
}

TEST(Half, RoundsAtEveryBoundaryBetweenHalves) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    // Around each half, and around the middle between it and the next, in both formats.
    const uint32_t f16 = std::bit_cast<uint32_t>(F16ToFloat(static_cast<uint16_t>(bits)));
    for (const uint32_t middle : {f16, f16 + 0x1000, bits << 16, (bits << 16) + 0x8000}) {
      for (const uint32_t near : {middle - 1, middle, middle + 1}) {
        ExpectRoundsLikeTheDefinition(near);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST(Half, RoundsRandomFloats) {
  std::mt19937 random(7);
  for (int i = 0; i < 1'000'000; ++i) {
    ExpectRoundsLikeTheDefinition(random());
    if (HasFatalFailure()) return;
  }
}

TEST(Half, KnownValues) {
  EXPECT_EQ(FloatToF16(1.0f), 0x3C00);
  EXPECT_EQ(FloatToF16(-2.0f), 0xC000);
  EXPECT_EQ(FloatToF16(65504.0f), 0x7BFF);
  EXPECT_EQ(FloatToF16(65519.99f), 0x7BFF);
  EXPECT_EQ(FloatToF16(65520.0f), 0x7C00);
  EXPECT_EQ(FloatToF16(0x1p-24f), 0x0001);
  EXPECT_EQ(FloatToF16(0x1p-25f), 0x0000);
  EXPECT_EQ(FloatToF16(-0.0f), 0x8000);
  EXPECT_EQ(FloatToBF16(1.0f), 0x3F80);
  EXPECT_EQ(FloatToBF16(3.4028235e38f), 0x7F80);
  EXPECT_EQ(BF16ToFloat(0x4049), 3.140625f);
}

}  // namespace
}  // namespace prefixd
