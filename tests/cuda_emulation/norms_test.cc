// RmsNorm and LayerNorm against loops in double.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernels/row_ops.h"
#include "tests/cuda_emulation/emulator/reports.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/test_matrix.h"

namespace prefixd::cuda {
namespace {

enum class Norm { kRms, kLayer };
constexpr int64_t kSizes[] = {1, 3, 17, 63, 64, 65, 100, 577};
constexpr float kEps = 1e-5f;

struct NormCase {
  Norm norm = Norm::kRms;
  Element type = Element::kF32;
  int64_t rows = 3;
  int64_t cols = 64;
  Placement placement = Placement::kAligned;
  double mean = 0;
  float weight_offset = 0;  // Of kRms.
  bool in_place = false;
};

std::string Name(const NormCase& c) {
  return (c.norm == Norm::kRms ? "rms " : "layer ") + Name(c.type) + " " + std::to_string(c.cols) +
         " " + Name(c.placement);
}

struct Inputs {
  explicit Inputs(const NormCase& c)
      : x(c.type, c.rows, c.cols, c.placement),
        weight(c.type, 1, c.cols, c.placement),
        bias(c.type, 1, c.cols, c.placement) {
    std::mt19937 random(static_cast<uint32_t>(c.cols));
    std::uniform_real_distribution<double> uniform(-2, 2);
    for (int64_t r = 0; r < c.rows; ++r) {
      for (int64_t i = 0; i < c.cols; ++i) x.Set(r, i, c.mean + uniform(random));
    }
    x.Upload();
    weight.Fill(&random, 2);
    bias.Fill(&random, 2);
  }
  TestMatrix x, weight, bias;
};

cudaError_t Launch(Norm norm, const DeviceMatrix& x, Inputs* in, const DeviceMatrix& y,
                   float weight_offset = 0) {
  if (norm == Norm::kRms) {
    return LaunchRmsNorm(x, in->weight.view(), weight_offset, kEps, y, nullptr);
  }
  return LaunchLayerNorm(x, in->weight.view(), in->bias.view(), kEps, y, nullptr);
}

// Mean and 1 / sqrt(variance + eps) of a row; a mean of 0 and the mean square for RmsNorm.
struct Moments {
  Moments(Norm norm, const TestMatrix& x, int64_t r) {
    const double count = static_cast<double>(x.cols());
    for (int64_t i = 0; i < x.cols(); ++i) {
      largest = std::max(largest, std::abs(x.Get(r, i)));
      if (norm == Norm::kLayer) mean += x.Get(r, i) / count;
    }
    double squares = 0;
    for (int64_t i = 0; i < x.cols(); ++i) squares += std::pow(x.Get(r, i) - mean, 2) / count;
    factor = 1 / std::sqrt(squares + double{kEps});
  }
  double mean = 0, factor = 0, largest = 0;
};

// Empty, or what is wrong.
std::string RunNorm(const NormCase& c) {
  Inputs in(c);
  std::vector<Moments> moments;
  for (int64_t r = 0; r < c.rows; ++r) moments.emplace_back(c.norm, in.x, r);
  const HostMatrix x(in.x);  // As it was.
  TestMatrix out(c.type, c.rows, c.cols, c.placement);
  TestMatrix& y = c.in_place ? in.x : out;
  if (Launch(c.norm, in.x.view(), &in, y.view(), c.weight_offset) != cudaSuccess) {
    return "launch failed";
  }
  const bool layer = c.norm == Norm::kLayer;
  return Mismatch(
      &y,
      [&](int64_t r, int64_t i) {
        return (x.Get(r, i) - moments[r].mean) * moments[r].factor *
                   (c.weight_offset + in.weight.Get(0, i)) +
               (layer ? in.bias.Get(0, i) : 0);
      },
      [&](int64_t r, int64_t i) {
        return layer ? moments[r].largest * moments[r].factor * std::abs(in.weight.Get(0, i)) +
                           std::abs(in.bias.Get(0, i))
                     : 0;
      });
}

class NormsTest : public ::testing::TestWithParam<Norm> {};

TEST_P(NormsTest, AllTypesSizesAndPlacements) {
  for (const Element type : kElements) {
    for (const Placement placement : kPlacements) {
      for (const int64_t cols : kSizes) {
        const NormCase c{.norm = GetParam(), .type = type, .cols = cols, .placement = placement};
        EXPECT_EQ(RunNorm(c), "") << Name(c);
      }
    }
  }
}

TEST(RmsNormTest, WeightsAreDifferencesFromOne) {
  for (const Element type : kElements) {
    const NormCase c{.type = type, .cols = 100, .weight_offset = 1};
    EXPECT_EQ(RunNorm(c), "") << Name(c);
  }
}

TEST_P(NormsTest, InPlace) {
  for (const Element type : kElements) {
    const NormCase c{.norm = GetParam(), .type = type, .cols = 577, .in_place = true};
    EXPECT_EQ(RunNorm(c), "") << Name(c);
  }
}

// Longer than 512 threads take at once, in every order of threads.
TEST_P(NormsTest, LongRowsInAllOrders) {
  emu::ForAllOrders(kSeeds, [&] {
    for (const Placement placement : kPlacements) {
      const NormCase c{.norm = GetParam(), .rows = 1, .cols = 4203, .placement = placement};
      EXPECT_EQ(RunNorm(c), "") << Name(c);
    }
  });
}

// E[x^2] - mean^2 in float32 would leave nothing of the variance here.
TEST(LayerNormTest, LargeMean) {
  const NormCase c{.norm = Norm::kLayer, .cols = 577, .mean = 3000};
  EXPECT_EQ(RunNorm(c), "");
}

TEST_P(NormsTest, BitsOfARowDependOnThatRowAlone) {
  for (const Element type : kElements) {
    NormCase c{.norm = GetParam(), .type = type, .rows = 5, .cols = 577};
    Inputs in(c);
    TestMatrix batch(type, c.rows, c.cols, Placement::kAligned);
    ASSERT_EQ(Launch(c.norm, in.x.view(), &in, batch.view()), cudaSuccess);
    batch.Download();
    c.placement = Placement::kColumn5;
    Inputs moved(c);  // The same numbers.
    for (int64_t r = 0; r < c.rows; ++r) {
      TestMatrix alone(type, 1, c.cols, Placement::kAligned);
      TestMatrix elsewhere(type, 1, c.cols, Placement::kColumn5);
      ASSERT_EQ(Launch(c.norm, in.x.Rows(r, 1), &in, alone.view()), cudaSuccess);
      ASSERT_EQ(Launch(c.norm, moved.x.Rows(r, 1), &moved, elsewhere.view()), cudaSuccess);
      alone.Download();
      elsewhere.Download();
      for (int64_t i = 0; i < c.cols; ++i) {
        ASSERT_EQ(alone.Bits(0, i), batch.Bits(r, i)) << Name(c) << " column " << i;
        ASSERT_EQ(elsewhere.Bits(0, i), batch.Bits(r, i)) << Name(c) << " column " << i;
      }
    }
  }
}

TEST_P(NormsTest, FindsAReductionWithoutBarrier) {
  const PlantedBug bug(KernelBug::kReductionWithoutBarrier);
  emu::ForAllOrders(kSeeds, [&] {
    const std::string mismatch = RunNorm({.norm = GetParam(), .cols = 577});
    const bool reported = !emu::TakeReports().empty();
    EXPECT_TRUE(mismatch != "" || reported);
  });
}

TEST_P(NormsTest, FindsATailThatIsNotMasked) {
  const PlantedBug bug(KernelBug::kTailNotMasked);
  for (const Placement placement : kPlacements) {
    EXPECT_NE(RunNorm({.norm = GetParam(), .cols = 577, .placement = placement}), "");
  }
  emu::TakeReports();
}

TEST_P(NormsTest, WrongShapesAreErrors) {
  Inputs in({.cols = 64});
  TestMatrix narrow(Element::kF32, 3, 63, Placement::kAligned);
  TestMatrix half(Element::kF16, 3, 64, Placement::kAligned);
  EXPECT_EQ(Launch(GetParam(), in.x.view(), &in, narrow.view()), cudaErrorInvalidValue);
  EXPECT_EQ(Launch(GetParam(), in.x.view(), &in, half.view()), cudaErrorInvalidValue);
  EXPECT_EQ(Launch(GetParam(), in.x.Rows(0, 2), &in, in.x.view()), cudaErrorInvalidValue);
  DeviceMatrix odd = in.x.view();
  odd.data = static_cast<std::byte*>(odd.data) + 1;
  EXPECT_EQ(Launch(GetParam(), odd, &in, odd), cudaErrorInvalidValue);
  EXPECT_EQ(Launch(GetParam(), in.x.Rows(0, 0), &in, in.x.Rows(0, 0)), cudaSuccess);
}

INSTANTIATE_TEST_SUITE_P(Norms, NormsTest, ::testing::Values(Norm::kRms, Norm::kLayer),
                         [](const auto& info) {
                           return info.param == Norm::kRms ? "RmsNorm" : "LayerNorm";
                         });

}  // namespace
}  // namespace prefixd::cuda
