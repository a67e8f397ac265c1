#include "engine/models/rope.h"

#include <gtest/gtest.h>

namespace prefixd {
namespace {

TEST(InverseFrequencies, FallGeometrically) {
  const std::vector<float> frequencies = InverseFrequencies({.theta = 10000.0}, 8);
  ASSERT_EQ(frequencies.size(), 4u);
  EXPECT_FLOAT_EQ(frequencies[0], 1.0f);
  EXPECT_FLOAT_EQ(frequencies[1], 0.1f);
  EXPECT_FLOAT_EQ(frequencies[2], 0.01f);
  EXPECT_FLOAT_EQ(frequencies[3], 0.001f);
}

TEST(InverseFrequencies, AreDividedByALinearFactor) {
  const RopeConfig rope = {.type = RopeType::kLinear, .theta = 10000.0, .factor = 4.0};
  const std::vector<float> frequencies = InverseFrequencies(rope, 4);
  EXPECT_FLOAT_EQ(frequencies[0], 0.25f);
  EXPECT_FLOAT_EQ(frequencies[1], 0.0025f);
}

TEST(InverseFrequencies, FollowLlama3InAllThreeBands) {
  // Wavelengths 2 pi 10^i: below 64 / 4 unchanged, above 64 divided by 8, blended between.
  const RopeConfig rope = {.type = RopeType::kLlama3,
                           .theta = 10000.0,
                           .factor = 8.0,
                           .low_freq_factor = 1.0,
                           .high_freq_factor = 4.0,
                           .original_max_positions = 64.0};
  const std::vector<float> frequencies = InverseFrequencies(rope, 8);
  EXPECT_FLOAT_EQ(frequencies[0], 1.0f);
  // smooth = (64 / 62.8318 - 1) / 3 = 0.0061972; 0.9938028 * 0.1 / 8 + 0.0061972 * 0.1.
  EXPECT_NEAR(frequencies[1], 0.01304225f, 1e-7f);
  EXPECT_FLOAT_EQ(frequencies[2], 0.00125f);
  EXPECT_FLOAT_EQ(frequencies[3], 0.000125f);
}

}  // namespace
}  // namespace prefixd
