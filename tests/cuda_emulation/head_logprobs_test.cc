#include "engine/backend/cuda/kernels/head_logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "engine/backend/cuda/kernel_bug.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/testing.h"

namespace prefixd::cuda {
namespace {

// Rows of logits of a whole vocabulary, and what is wanted of each.
struct HeadCase {
  int32_t vocabulary = 0;
  std::vector<std::vector<float>> logits;
  std::vector<std::vector<int32_t>> columns;  // By row; none is allowed.
};

HeadCase RandomCase(int num_rows, int32_t vocabulary, int most_columns, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(2, 6);
  HeadCase c = {.vocabulary = vocabulary};
  for (int row = 0; row < num_rows; ++row) {
    std::vector<float>& logits = c.logits.emplace_back(vocabulary);
    for (float& logit : logits) logit = normal(random);
    std::vector<int32_t>& columns = c.columns.emplace_back(random() % (most_columns + 1));
    for (int32_t& column : columns) column = static_cast<int32_t>(random() % vocabulary);
  }
  return c;
}

// What the kernel makes of the case, the vocabulary cut into tiles of `tile_cols`, in a matrix with
// a gap behind each row.
std::vector<float> OnDevice(const HeadCase& c, int32_t tile_cols) {
  const int64_t num_rows = static_cast<int64_t>(c.logits.size());
  std::vector<int32_t> begins = {0}, columns;
  for (const std::vector<int32_t>& of_row : c.columns) {
    columns.insert(columns.end(), of_row.begin(), of_row.end());
    begins.push_back(static_cast<int32_t>(columns.size()));
  }
  const int64_t stride = tile_cols + 3;
  emu::DeviceArray<int32_t> device_begins(begins), device_columns(columns);
  emu::DeviceArray<double> log_sums(c.logits.size());
  emu::DeviceArray<float> y(columns.size());
  for (int32_t begin = 0; begin < c.vocabulary; begin += tile_cols) {
    const int32_t cols = std::min(tile_cols, c.vocabulary - begin);
    std::vector<float> values(num_rows * stride, std::numeric_limits<float>::quiet_NaN());
    for (int64_t row = 0; row < num_rows; ++row) {
      std::copy_n(c.logits[row].begin() + begin, cols, values.begin() + row * stride);
    }
    emu::DeviceArray<float> logits(values);
    EXPECT_EQ(LaunchHeadTile({.logits = {logits.data(), Element::kF32, num_rows, cols, stride},
                              .first_column = begin,
                              .is_last = begin + cols == c.vocabulary,
                              .begins = device_begins.data(),
                              .columns = device_columns.data(),
                              .log_sums = log_sums.data(),
                              .y = y.data()},
                             nullptr),
              cudaSuccess);
  }
  return y.Download();
}

double LargestError(const HeadCase& c, const std::vector<float>& actual) {
  double largest = 0;
  size_t i = 0;
  for (size_t row = 0; row < c.logits.size(); ++row) {
    const double base = *std::max_element(c.logits[row].begin(), c.logits[row].end());
    double sum = 0;
    for (const float logit : c.logits[row]) sum += std::exp(logit - base);
    for (const int32_t column : c.columns[row]) {
      const double error = std::abs(actual[i++] - (c.logits[row][column] - base - std::log(sum)));
      if (!(error <= largest)) largest = error;  // Keeps a NaN.
    }
  }
  EXPECT_EQ(i, actual.size());
  return largest;
}

TEST(HeadLogprobs, AreTheLogOfTheSoftmaxOverAllTiles) {
  uint64_t seed = 0;
  for (const int32_t vocabulary : {1, 2, 31, 96, 97, 1000, 1029}) {
    for (const int32_t tile : {1, 32, 96, 1029}) {
      if (tile == 1 && vocabulary > 100) continue;
      const HeadCase c = RandomCase(4, vocabulary, 50, ++seed);
      EXPECT_LE(LargestError(c, OnDevice(c, tile)), 1e-5) << vocabulary << " in " << tile;
    }
  }
}

TEST(HeadLogprobs, OfALargeVocabulary) {
  const HeadCase c = RandomCase(2, 3 * 4096 + 17, 3000, 50);
  EXPECT_LE(LargestError(c, OnDevice(c, 4096)), 1e-5);
}

// No sum overflows, whichever tile holds what counts.
TEST(HeadLogprobs, TakesLargeLogits) {
  HeadCase c = {.vocabulary = 6,
                .logits = {{3000, -3000, 0, 1, 2, 3}, {0, 1, 2, 3, 4, 3000}},
                .columns = {{0, 1, 5}, {5, 0}}};
  EXPECT_LE(LargestError(c, OnDevice(c, 2)), 1e-3);
  EXPECT_EQ(OnDevice(c, 2)[0], 0.0f);  // Never above.
}

TEST(HeadLogprobs, ARowDependsOnItselfAlone) {
  const HeadCase c = RandomCase(5, 300, 30, 60);
  const std::vector<float> all = OnDevice(c, 128);
  size_t begin = 0;
  for (size_t row = 0; row < c.logits.size(); ++row) {
    const HeadCase alone = {
        .vocabulary = 300, .logits = {c.logits[row]}, .columns = {c.columns[row]}};
    const std::vector<float> part(all.begin() + begin, all.begin() + begin + c.columns[row].size());
    EXPECT_EQ(OnDevice(alone, 128), part);
    begin += part.size();
  }
}

TEST(HeadLogprobs, WhatIsNoNumberShows) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const HeadCase c = {.vocabulary = 4,
                      .logits = {{1, 2, std::nanf(""), 3},
                                 {kInfinity, 2, 1, 3},
                                 {-kInfinity, -kInfinity, 1, 3},
                                 {0, 1, -kInfinity, -kInfinity}},
                      .columns = {{0, 3}, {0, 2}, {0, 2}, {1, 2}}};
  const std::vector<float> y = OnDevice(c, 2);
  EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[1]));
  EXPECT_FALSE(std::isfinite(y[2]) || std::isfinite(y[3]));
  // Minus infinity is no chance, and no harm to others: also as the whole of a tile.
  EXPECT_EQ(y[4], -kInfinity);
  EXPECT_NEAR(y[5], 1 - std::log(std::exp(1.0) + std::exp(3.0)), 1e-6);
  EXPECT_NEAR(y[6], 1 - std::log(std::exp(1.0) + 1), 1e-6);
  EXPECT_EQ(y[7], -kInfinity);
}

TEST(HeadLogprobs, AreTheSameInEveryOrderOfThreads) {
  const HeadCase c = RandomCase(3, 300, 200, 70);
  const std::vector<float> expected = OnDevice(c, 128);
  EXPECT_LE(LargestError(c, expected), 1e-5);
  emu::ForAllOrders(20, [&] { EXPECT_EQ(OnDevice(c, 128), expected); });
}

TEST(HeadLogprobs, ATileThatIsForgottenIsFound) {
  const HeadCase c = RandomCase(2, 300, 20, 80);
  planted_kernel_bug = KernelBug::kHeadForgetsTiles;
  const double error = LargestError(c, OnDevice(c, 128));
  planted_kernel_bug = KernelBug::kNone;
  EXPECT_GT(error, 1e-2);
}

TEST(HeadLogprobs, RefusesWhatItCannotDo) {
  emu::DeviceArray<float> logits(4), y(1);
  emu::DeviceArray<double> log_sums(1);
  emu::DeviceArray<int32_t> begins(std::vector<int32_t>{0, 1}), columns(std::vector<int32_t>{2});
  const HeadTile good = {.logits = {logits.data(), Element::kF32, 1, 4, 4},
                         .is_last = true,
                         .begins = begins.data(),
                         .columns = columns.data(),
                         .log_sums = log_sums.data(),
                         .y = y.data()};
  const auto launch = [&](auto change) {
    HeadTile tile = good;
    change(tile);
    return LaunchHeadTile(tile, nullptr);
  };
  EXPECT_EQ(launch([](HeadTile&) {}), cudaSuccess);
  EXPECT_EQ(launch([](HeadTile& tile) { tile.logits.rows = 0; }), cudaSuccess);
  for (const auto change : std::vector<void (*)(HeadTile&)>{
           [](HeadTile& tile) { tile.logits.cols = 0; },
           [](HeadTile& tile) { tile.logits.data = nullptr; },
           [](HeadTile& tile) { tile.logits.rows = 2, tile.logits.stride = 3; },
           [](HeadTile& tile) { tile.first_column = -1; },
           [](HeadTile& tile) { tile.first_column = INT32_MAX - 3; },
           [](HeadTile& tile) { tile.begins = nullptr; },
           [](HeadTile& tile) { tile.columns = nullptr; },
           [](HeadTile& tile) { tile.log_sums = nullptr; },
           [](HeadTile& tile) { tile.y = nullptr; }}) {
    EXPECT_EQ(launch(change), cudaErrorInvalidValue);
  }
}

}  // namespace
}  // namespace prefixd::cuda
