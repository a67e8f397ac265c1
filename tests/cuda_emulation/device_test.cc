// The twins of device.h's instructions against loops in double precision.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/cuda_emulation/device_kernels.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/testing.h"

namespace prefixd::emu {
namespace {

using ::testing::ElementsAre;

// The value of 16 bits with so many bits of exponent, from the definition (IEEE 754, section 3.4).
double ValueOf(uint16_t bits, bool is_bf16) {
  const int mantissa_bits = is_bf16 ? 7 : 10, bias = is_bf16 ? 127 : 15;
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const int exponent = (bits & 0x7FFF) >> mantissa_bits;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp((1 << mantissa_bits) + mantissa, exponent - bias - mantissa_bits);
}

// Bits of values in +-[2^-4, 2).
std::vector<uint16_t> RandomBits(size_t count, bool is_bf16, std::mt19937* random) {
  std::vector<uint16_t> values(count);
  const int mantissa_bits = is_bf16 ? 7 : 10, bias = is_bf16 ? 127 : 15;
  for (uint16_t& bits : values) {
    const uint32_t draw = static_cast<uint32_t>((*random)());
    const uint32_t exponent = static_cast<uint32_t>(bias) - draw % 5;
    const uint32_t mantissa = (draw >> 8) & ((1u << mantissa_bits) - 1);
    bits = static_cast<uint16_t>((draw >> 31) << 15 | exponent << mantissa_bits | mantissa);
  }
  return values;
}

TEST(Mma, EqualsALoopInDoublePrecision) {
  std::mt19937 random(7);
  for (const bool is_bf16 : {false, true}) {
    for (const bool by_columns : {false, true}) {
      SCOPED_TRACE(is_bf16 ? "bf16" : "f16");
      SCOPED_TRACE(by_columns ? "b by columns" : "b by rows, transposed");
      const std::vector<uint16_t> a = RandomBits(256, is_bf16, &random);
      const std::vector<uint16_t> b = RandomBits(128, is_bf16, &random);
      std::vector<float> start(128);
      for (size_t i = 0; i < 128; ++i) start[i] = static_cast<float>(i) / 16;
      const DeviceArray<uint16_t> device_a(a), device_b(b);
      ForAllOrders(3, [&] {
        DeviceArray<float> d(start);
        ASSERT_EQ(LaunchMma(is_bf16, by_columns, device_a.data(), device_b.data(), d.data()),
                  cudaSuccess);
        const std::vector<float> result = d.Download();
        for (size_t row = 0; row < 16; ++row) {
          for (size_t column = 0; column < 8; ++column) {
            double sum = start[row * 8 + column];
            for (size_t k = 0; k < 16; ++k) {
              const uint16_t of_b = by_columns ? b[column * 16 + k] : b[k * 8 + column];
              sum += ValueOf(a[row * 16 + k], is_bf16) * ValueOf(of_b, is_bf16);
            }
            ASSERT_NEAR(result[row * 8 + column], sum, 2e-5) << row << ", " << column;
          }
        }
      });
    }
  }
}

// The nearest of all 65536 values, the even one where two are as near; from the definition.
std::vector<float> Nearest(const std::vector<float>& x, bool is_bf16) {
  std::vector<float> nearest;
  for (const float value : x) {
    if (std::fabs(value) >= ValueOf(is_bf16 ? 0x7F80 : 0x7C00, is_bf16)) {
      nearest.push_back(std::copysign(INFINITY, value));
      continue;
    }
    double best = 0, best_distance = INFINITY;
    bool best_is_even = true;
    const uint32_t end = is_bf16 ? 0x7F80 : 0x7C00;
    for (uint32_t bits = 0; bits <= end; ++bits) {
      // What infinity stands for when rounding is the next value if exponents went on.
      const double candidate = ValueOf(static_cast<uint16_t>(bits), is_bf16);
      const double distance = std::fabs(candidate - std::fabs(static_cast<double>(value)));
      const bool is_even = bits % 2 == 0;
      if (distance < best_distance || (distance == best_distance && is_even && !best_is_even)) {
        best = bits == end ? INFINITY : candidate;
        best_distance = distance;
        best_is_even = is_even;
      }
    }
    nearest.push_back(static_cast<float>(std::copysign(best, value)));
  }
  return nearest;
}

TEST(RoundTrip, IsToTheNearestTiesToEven) {
  std::vector<float> x = {0.0f,       -0.0f,     1.0f,       1.00390625f, 1.01171875f, 65504.0f,
                          65519.99f,  65520.0f,  -70000.0f,  6e-8f,       2.9e-8f,     1e-7f,
                          1.0004883f, 1.001465f, 6.1035e-5f, 3.3e38f,     -3.4e38f,    1e-40f};
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  while (x.size() < 64) x.push_back(normal(random));
  const int count = static_cast<int>(x.size()) / 2;
  for (const bool is_bf16 : {false, true}) {
    SCOPED_TRACE(is_bf16 ? "bf16" : "f16");
    const DeviceArray<float> device_x(x);
    DeviceArray<uint32_t> packed(x.size() / 2);
    DeviceArray<float> y(x.size()), z(x.size());
    ASSERT_EQ(LaunchRoundTrip(is_bf16, device_x.data(), count, packed.data(), y.data(), z.data()),
              cudaSuccess);
    const std::vector<float> expected = Nearest(x, is_bf16);
    EXPECT_EQ(y.Download(), expected);
    EXPECT_EQ(z.Download(), expected);
    // The first value lies in the low half: 1.0 and 1.0039 of x[2], x[3].
    EXPECT_EQ(packed.Download()[1] & 0xFFFF, is_bf16 ? 0x3F80u : 0x3C00u);
  }
}

TEST(Shuffles, MoveValuesAsTheGuideSays) {
  ForAllOrders(5, [] {
    DeviceArray<unsigned> y(7 * 32);
    ASSERT_EQ(LaunchShuffles(y.data()), cudaSuccess);
    const std::vector<unsigned> got = y.Download();
    for (unsigned lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(got[lane], lane ^ 3);
      EXPECT_EQ(got[32 + lane], lane % 8 + 5 < 8 ? lane + 5 : lane);
      EXPECT_EQ(got[64 + lane], lane >= 2 ? lane - 2 : lane);
      EXPECT_EQ(got[96 + lane], lane / 4 * 4 + 3);
      EXPECT_EQ(got[128 + lane], 1u);
      EXPECT_EQ(got[160 + lane], 1u);
      EXPECT_EQ(got[192 + lane], 0x49249249u);
    }
  });
}

TEST(Integers, AreThoseOfTheGuide) {
  DeviceArray<uint32_t> y(6);
  ASSERT_EQ(LaunchIntegers(y.data()), cudaSuccess);
  // 0xDEADBEEF * 0xCAFEBABE and 0xFEDCBA9876543210 * 0x0123456789ABCDEF, upper halves.
  EXPECT_THAT(y.Download(), ElementsAre(0xB092AB7Bu, 0xAD77D742u, 0x0121FA00u, 9, 15, 5));
}

}  // namespace
}  // namespace prefixd::emu
