// BiasActivation, GatedActivation and Add against loops in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "engine/backend/cuda/kernels/row_ops.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/test_matrix.h"

namespace prefixd::cuda {
namespace {

constexpr int64_t kSizes[] = {1, 3, 17, 63, 64, 65, 100, 577};
constexpr KernelActivation kActivations[] = {KernelActivation::kNone, KernelActivation::kRelu,
                                             KernelActivation::kSilu, KernelActivation::kQuickGelu,
                                             KernelActivation::kGelu, KernelActivation::kGeluTanh};

double ExactActivation(KernelActivation activation, double x) {
  switch (activation) {
    case KernelActivation::kNone:
      return x;
    case KernelActivation::kRelu:
      return x > 0 ? x : 0;
    case KernelActivation::kSilu:
      return x / (1 + std::exp(-x));
    case KernelActivation::kQuickGelu:
      return x / (1 + std::exp(-1.702 * x));
    case KernelActivation::kGelu:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case KernelActivation::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  }
  return x;
}

struct BiasCase {
  Element x_type = Element::kF32;
  Element y_type = Element::kF32;
  KernelActivation activation = KernelActivation::kNone;
  int64_t cols = 100;
  Placement placement = Placement::kAligned;
  bool bias = true;
  bool accumulate = false;
  bool in_place = false;
};

std::string Name(const BiasCase& c) {
  return Name(c.x_type) + " to " + Name(c.y_type) + ", activation " +
         std::to_string(static_cast<int>(c.activation)) + ", " + std::to_string(c.cols) + " " +
         Name(c.placement) + (c.bias ? " bias" : "") + (c.accumulate ? " accumulate" : "");
}

std::string RunBiasActivation(const BiasCase& c) {
  std::mt19937 random(static_cast<uint32_t>(c.cols));
  TestMatrix in(c.x_type, 3, c.cols, c.placement), out(c.y_type, 3, c.cols, c.placement);
  TestMatrix bias(c.y_type, 1, c.cols, c.placement);
  in.Fill(&random, 6);
  bias.Fill(&random, 2);
  if (c.accumulate) out.Fill(&random, 4);
  const HostMatrix x(in), before(out);
  TestMatrix& y = c.in_place ? in : out;
  const DeviceMatrix bias_view = bias.view();
  if (LaunchBiasActivation(in.view(), c.bias ? &bias_view : nullptr, c.activation, c.accumulate,
                           y.view(), nullptr) != cudaSuccess) {
    return "launch failed";
  }
  const auto sum = [&](int64_t r, int64_t i) {
    return x.Get(r, i) + (c.bias ? bias.Get(0, i) : 0);
  };
  return Mismatch(
      &y,
      [&](int64_t r, int64_t i) {
        return ExactActivation(c.activation, sum(r, i)) + (c.accumulate ? before.Get(r, i) : 0);
      },
      [](int64_t, int64_t) { return 8.0; });
}

TEST(BiasActivationTest, AllTypesSizesAndPlacements) {
  for (const Element y_type : kElements) {
    for (const Element x_type : {Element::kF32, y_type}) {
      for (const Placement placement : kPlacements) {
        for (const int64_t cols : kSizes) {
          const BiasCase c{.x_type = x_type,
                           .y_type = y_type,
                           .activation = KernelActivation::kSilu,
                           .cols = cols,
                           .placement = placement,
                           .bias = cols % 2 == 1,
                           .accumulate = cols % 4 == 1};
          EXPECT_EQ(RunBiasActivation(c), "") << Name(c);
        }
      }
    }
  }
}

TEST(BiasActivationTest, AllActivationsAndOptions) {
  for (const KernelActivation activation : kActivations) {
    for (const Element type : {Element::kF32, Element::kBF16}) {
      for (const int options : {0, 1, 2, 3}) {
        const BiasCase c{.y_type = type,
                         .activation = activation,
                         .bias = (options & 1) != 0,
                         .accumulate = (options & 2) != 0};
        EXPECT_EQ(RunBiasActivation(c), "") << Name(c);
      }
      const BiasCase c{.x_type = type, .y_type = type, .activation = activation, .in_place = true};
      EXPECT_EQ(RunBiasActivation(c), "") << Name(c);
    }
  }
}

// More columns than one block takes.
TEST(BiasActivationTest, LongRowsInAllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    for (const Placement placement : kPlacements) {
      EXPECT_EQ(RunBiasActivation({.y_type = Element::kBF16,
                                   .activation = KernelActivation::kGelu,
                                   .cols = 2101,
                                   .placement = placement}),
                "");
    }
  });
}

TEST(BiasActivationTest, LargeNumbersMakeNoNaN) {
  constexpr double kLarge[] = {3e38, 1e30, 3e4, 700, 100, 89, 20};
  for (const Element type : {Element::kF32, Element::kBF16}) {
    for (const KernelActivation activation : kActivations) {
      TestMatrix x(type, 2, std::size(kLarge), Placement::kAligned);
      for (size_t i = 0; i < std::size(kLarge); ++i) {
        x.Set(0, static_cast<int64_t>(i), kLarge[i]);
        x.Set(1, static_cast<int64_t>(i), -kLarge[i]);
      }
      x.Upload();
      const HostMatrix before(x);
      ASSERT_EQ(LaunchBiasActivation(x.view(), nullptr, activation, false, x.view(), nullptr),
                cudaSuccess);
      EXPECT_EQ(
          Mismatch(
              &x,
              [&](int64_t r, int64_t i) { return ExactActivation(activation, before.Get(r, i)); },
              [](int64_t, int64_t) { return 1.0; }),
          "")
          << Name(type) << " " << static_cast<int>(activation);
    }
  }
}

std::string RunGated(Element type, KernelActivation activation, int64_t cols, Placement placement) {
  std::mt19937 random(static_cast<uint32_t>(cols));
  TestMatrix x(type, 3, 2 * cols, placement), y(type, 3, cols, placement);
  x.Fill(&random, 6);
  if (LaunchGatedActivation(x.view(), activation, y.view(), nullptr) != cudaSuccess) {
    return "launch failed";
  }
  return Mismatch(
      &y,
      [&](int64_t r, int64_t i) {
        return ExactActivation(activation, x.Get(r, i)) * x.Get(r, cols + i);
      },
      [](int64_t, int64_t) { return 36.0; });
}

TEST(GatedActivationTest, AllTypesSizesAndPlacements) {
  for (const Element type : kElements) {
    for (const Placement placement : kPlacements) {
      for (const int64_t cols : kSizes) {
        EXPECT_EQ(RunGated(type, KernelActivation::kSilu, cols, placement), "")
            << Name(type) << " " << cols;
      }
      for (const KernelActivation activation : kActivations) {
        EXPECT_EQ(RunGated(type, activation, 64, placement), "")
            << Name(type) << " " << static_cast<int>(activation);
      }
    }
  }
}

std::string RunAdd(Element type, int64_t x_rows, int64_t cols, Placement placement) {
  std::mt19937 random(static_cast<uint32_t>(cols));
  TestMatrix x(type, x_rows, cols, placement), y(type, 3, cols, placement);
  x.Fill(&random, 6);
  y.Fill(&random, 6);
  const HostMatrix before(y);
  if (LaunchAdd(x.view(), y.view(), nullptr) != cudaSuccess) return "launch failed";
  return Mismatch(
      &y, [&](int64_t r, int64_t i) { return before.Get(r, i) + x.Get(x_rows == 1 ? 0 : r, i); },
      [](int64_t, int64_t) { return 0.0; });
}

TEST(AddTest, AllTypesSizesAndPlacements) {
  for (const Element type : kElements) {
    for (const Placement placement : kPlacements) {
      for (const int64_t cols : kSizes) {
        for (const int64_t x_rows : {1, 3}) {
          EXPECT_EQ(RunAdd(type, x_rows, cols, placement), "") << Name(type) << " " << cols;
        }
      }
    }
  }
}

std::string RunScaleAndClamp(Element type, float factor, float limit, int64_t cols,
                             Placement placement) {
  std::mt19937 random(static_cast<uint32_t>(cols));
  TestMatrix y(type, 3, cols, placement);
  y.Fill(&random, 6);
  const HostMatrix before(y);
  if (LaunchScaleAndClamp(factor, limit, y.view(), nullptr) != cudaSuccess) return "launch failed";
  return Mismatch(
      &y,
      [&](int64_t r, int64_t i) {
        return std::min(std::max(before.Get(r, i) * factor, -double{limit}), double{limit});
      },
      [](int64_t, int64_t) { return 0.0; });
}

TEST(ScaleAndClampTest, AllTypesSizesAndPlacements) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const Element type : kElements) {
    for (const Placement placement : kPlacements) {
      for (const int64_t cols : kSizes) {
        EXPECT_EQ(RunScaleAndClamp(type, -2.75f, kInfinity, cols, placement), "") << cols;
        EXPECT_EQ(RunScaleAndClamp(type, 1, 1.5f, cols, placement), "") << cols;
      }
    }
  }
  TestMatrix y(Element::kF32, 1, 2, Placement::kAligned);
  y.Set(0, 0, std::numeric_limits<double>::quiet_NaN());
  y.Set(0, 1, std::numeric_limits<double>::infinity());
  y.Upload();
  ASSERT_EQ(LaunchScaleAndClamp(1, 8, y.view(), nullptr), cudaSuccess);
  y.Download();
  EXPECT_TRUE(std::isnan(y.Get(0, 0)));
  EXPECT_EQ(y.Get(0, 1), 8);
  EXPECT_EQ(LaunchScaleAndClamp(1, 0, y.view(), nullptr), cudaErrorInvalidValue);
}

TEST(ActivationsTest, AllOrders) {
  emu::ForAllOrders(kSeeds, [] {
    EXPECT_EQ(RunGated(Element::kF16, KernelActivation::kGeluTanh, 577, Placement::kColumn5), "");
    EXPECT_EQ(RunAdd(Element::kBF16, 1, 577, Placement::kAligned), "");
  });
}

TEST(ActivationsTest, BitsOfARowDependOnThatRowAlone) {
  constexpr int64_t kCols = 200;
  std::mt19937 random(1);
  TestMatrix x(Element::kBF16, 5, 2 * kCols, Placement::kAligned);
  TestMatrix batch(Element::kBF16, 5, kCols, Placement::kAligned);
  TestMatrix alone(Element::kBF16, 5, kCols, Placement::kColumn5);
  TestMatrix added(Element::kBF16, 1, kCols, Placement::kAligned);
  x.Fill(&random, 6);
  added.Fill(&random, 2);
  const auto launch = [&](const DeviceMatrix& in, const DeviceMatrix& out) {
    const DeviceMatrix bias = added.view();
    ASSERT_EQ(LaunchGatedActivation(in, KernelActivation::kSilu, out, nullptr), cudaSuccess);
    ASSERT_EQ(LaunchBiasActivation(out, &bias, KernelActivation::kGelu, true, out, nullptr),
              cudaSuccess);
    ASSERT_EQ(LaunchAdd(bias, out, nullptr), cudaSuccess);
  };
  launch(x.view(), batch.view());
  for (int64_t r = 0; r < 5; ++r) launch(x.Rows(r, 1), alone.Rows(r, 1));
  batch.Download();
  alone.Download();
  for (int64_t r = 0; r < 5; ++r) {
    for (int64_t c = 0; c < kCols; ++c) ASSERT_EQ(alone.Bits(r, c), batch.Bits(r, c));
  }
}

TEST(ActivationsTest, FindATailThatIsNotMasked) {
  const PlantedBug bug(KernelBug::kTailNotMasked);
  for (const Placement placement : kPlacements) {
    EXPECT_NE(RunBiasActivation({.cols = 577, .placement = placement}), "");
    EXPECT_NE(RunGated(Element::kBF16, KernelActivation::kSilu, 63, placement), "");
    EXPECT_NE(RunAdd(Element::kF16, 3, 17, placement), "");
  }
  emu::TakeReports();
}

TEST(ActivationsTest, WrongShapesAreErrors) {
  TestMatrix f32(Element::kF32, 3, 64, Placement::kAligned);
  TestMatrix f16(Element::kF16, 3, 64, Placement::kAligned);
  TestMatrix wide(Element::kF32, 3, 128, Placement::kAligned);
  TestMatrix two(Element::kF32, 2, 64, Placement::kAligned);
  const auto silu = KernelActivation::kSilu;
  EXPECT_EQ(LaunchBiasActivation(f16.view(), nullptr, silu, false, f32.view(), nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(LaunchBiasActivation(wide.view(), nullptr, silu, false, f32.view(), nullptr),
            cudaErrorInvalidValue);
  const DeviceMatrix bias = two.view();
  EXPECT_EQ(LaunchBiasActivation(f32.view(), &bias, silu, false, f32.view(), nullptr),
            cudaErrorInvalidValue);
  EXPECT_EQ(LaunchGatedActivation(f32.view(), silu, f32.view(), nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(LaunchAdd(two.view(), f32.view(), nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(LaunchAdd(f16.view(), f32.view(), nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace prefixd::cuda
