// The ops that copy rows, and rotary angles. Copies are compared bit by bit.
#include "engine/backend/cuda/kernels/row_ops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/test_matrix.h"

namespace prefixd::cuda {
namespace {

constexpr int64_t kSizes[] = {1, 3, 17, 63, 64, 65, 100, 577, 2101};

// Empty, or the first element of `y` that is not the one of `x` that source(r, c) names.
template <typename Source>
std::string CopyMismatch(const TestMatrix& x, TestMatrix* y, Source source) {
  y->Download();
  for (int64_t r = 0; r < y->rows(); ++r) {
    for (int64_t c = 0; c < y->cols(); ++c) {
      const auto [x_row, x_col] = source(r, c);
      if (y->Bits(r, c) != x.Bits(x_row, x_col)) {
        return "row " + std::to_string(r) + " column " + std::to_string(c);
      }
    }
  }
  return y->BrokenGuard();
}

std::string RunEmbed(Element type, int64_t cols, Placement placement) {
  std::mt19937 random(static_cast<uint32_t>(cols));
  TestMatrix table(type, 7, cols, placement), y(type, 5, cols, placement);
  table.Fill(&random, 1);
  const emu::DeviceArray<int32_t> ids(std::vector<int32_t>{6, -1, 0, -3, -2}),
      drawn(std::vector<int32_t>{4, -1, 2});
  const int64_t rows[] = {6, 4, 0, 2, 0};  // Nothing was drawn for the last.
  if (LaunchEmbedRows(table.view(), ids.data(), drawn.data(), y.view(), nullptr) != cudaSuccess) {
    return "launch failed";
  }
  return CopyMismatch(table, &y, [&](int64_t r, int64_t c) { return std::pair(rows[r], c); });
}

TEST(EmbedRowsTest, AllTypesSizesAndPlacements) {
  for (const Element type : kElements) {
    for (const Placement placement : kPlacements) {
      for (const int64_t cols : kSizes) {
        EXPECT_EQ(RunEmbed(type, cols, placement), "") << Name(type) << " " << cols;
      }
    }
  }
}

std::string RunCopyRows(Element type, int64_t cols, Placement placement) {
  std::mt19937 random(static_cast<uint32_t>(cols));
  TestMatrix x(type, 6, cols, placement), y(type, 5, cols, placement);
  x.Fill(&random, 1);
  y.Fill(&random, 1);
  TestMatrix joined(type, 11, cols, placement);  // What y should be: rows of x, then y's own.
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < 6; ++r) joined.Set(r, c, x.Get(r, c));
    for (int64_t r = 0; r < 5; ++r) joined.Set(6 + r, c, y.Get(r, c));
  }
  const emu::DeviceArray<int32_t> x_rows(std::vector<int32_t>{5, 0, 5}),
      y_rows(std::vector<int32_t>{1, 4, 0});
  const int64_t rows[] = {5, 5, 6 + 2, 6 + 3, 0};
  if (LaunchCopyRows(x.view(), x_rows.data(), y_rows.data(), 3, y.view(), nullptr) != cudaSuccess) {
    return "launch failed";
  }
  return CopyMismatch(joined, &y, [&](int64_t r, int64_t c) { return std::pair(rows[r], c); });
}

TEST(CopyRowsTest, AllTypesSizesAndPlacements) {
  for (const Element type : kElements) {
    for (const Placement placement : kPlacements) {
      for (const int64_t cols : kSizes) {
        EXPECT_EQ(RunCopyRows(type, cols, placement), "") << Name(type) << " " << cols;
      }
    }
  }
}

TEST(RowCopiesTest, AllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    EXPECT_EQ(RunEmbed(Element::kBF16, 577, Placement::kColumn5), "");
    EXPECT_EQ(RunCopyRows(Element::kF32, 64, Placement::kAligned), "");
  });
}

std::string RunPatchify(Element type, int side, int patch, Placement placement) {
  std::mt19937 random(static_cast<uint32_t>(side));
  const int grid = side / patch;
  TestMatrix pixels(type, 3, side * side, placement);
  TestMatrix y(type, grid * grid, 3 * patch * patch, placement);
  pixels.Fill(&random, 1);
  if (LaunchPatchify(pixels.view(), side, patch, y.view(), nullptr) != cudaSuccess) {
    return "launch failed";
  }
  return CopyMismatch(pixels, &y, [&](int64_t r, int64_t i) {
    int64_t k = 0;  // Column i of a row, counted as nested loops write it.
    for (int64_t channel = 0; channel < 3; ++channel) {
      for (int64_t line = 0; line < patch; ++line) {
        for (int64_t column = 0; column < patch; ++column) {
          if (k++ == i) {
            return std::pair(channel, (r / grid * patch + line) * side + r % grid * patch + column);
          }
        }
      }
    }
    return std::pair<int64_t, int64_t>(0, 0);
  });
}

TEST(PatchifyTest, PatchesOfAllTypes) {
  for (const Element type : kElements) {
    for (const Placement placement : kPlacements) {
      EXPECT_EQ(RunPatchify(type, 28, 14, placement), "");
      EXPECT_EQ(RunPatchify(type, 23, 5, placement), "");  // Three lines and columns left over.
      EXPECT_EQ(RunPatchify(type, 3, 1, placement), "");
    }
  }
}

TEST(PatchifyTest, WrongShapesAreErrors) {
  TestMatrix pixels(Element::kF32, 3, 64, Placement::kAligned);
  TestMatrix y(Element::kF32, 4, 48, Placement::kAligned);
  EXPECT_EQ(LaunchPatchify(pixels.view(), 8, 4, y.view(), nullptr), cudaSuccess);
  EXPECT_EQ(LaunchPatchify(pixels.view(), 8, 3, y.view(), nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(LaunchPatchify(pixels.view(), 7, 4, y.view(), nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(LaunchPatchify(pixels.view(), 8, 0, y.view(), nullptr), cudaErrorInvalidValue);
}

// Angles of up to 2 * 10^6 radians, where a sine without full argument reduction is noise.
TEST(RotaryAnglesTest, CosinesAndSines) {
  const std::vector<int32_t> positions = {0, 1, 4095, 131071, 1999999};
  for (const int64_t half : {1, 3, 32, 65, 300}) {
    for (const Placement placement : kPlacements) {
      std::vector<float> frequencies;
      for (int64_t i = 0; i < half; ++i) {
        frequencies.push_back(
            std::pow(10000.0f, -static_cast<float>(i) / static_cast<float>(half)));
      }
      const emu::DeviceArray<int32_t> device_positions(positions);
      const emu::DeviceArray<float> device_frequencies(frequencies);
      TestMatrix y(Element::kF32, static_cast<int64_t>(positions.size()), 2 * half, placement);
      ASSERT_EQ(
          LaunchRotaryAngles(device_positions.data(), device_frequencies.data(), y.view(), nullptr),
          cudaSuccess);
      EXPECT_EQ(Mismatch(
                    &y,
                    [&](int64_t r, int64_t c) {
                      const float angle = static_cast<float>(positions[r]) * frequencies[c % half];
                      return c < half ? std::cos(double{angle}) : std::sin(double{angle});
                    },
                    [](int64_t, int64_t) { return 0.5; }),
                "")
          << half;
    }
  }
}

}  // namespace
}  // namespace prefixd::cuda
