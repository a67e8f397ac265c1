#include "engine/backend/cuda/gemm.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/tensor/half.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/emulated_device.h"

namespace prefixd::cuda {
namespace {

uint32_t Encode(float value, Element type) {
  if (type == Element::kF32) return std::bit_cast<uint32_t>(value);
  return type == Element::kF16 ? FloatToF16(value) : FloatToBF16(value);
}

float Decode(const unsigned char* at, Element type) {
  if (type == Element::kF32) {
    float value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof(bits));
  return type == Element::kF16 ? F16ToFloat(bits) : BF16ToFloat(bits);
}

// A matrix on the device that begins `offset` elements behind an aligned address, all of whose
// other bytes are 0xFF.
class TestMatrix {
 public:
  TestMatrix(Element type, int64_t rows, int64_t cols, int64_t stride, int64_t offset)
      : size_(ElementSize(type)),
        bytes_(static_cast<size_t>(((rows - 1) * stride + cols + offset) * size_), 0xFF),
        device_(bytes_.size()),
        matrix_{device_.data() + offset * size_, type, rows, cols, stride},
        offset_(offset) {
    device_.Upload(bytes_);
  }

  void Fill(std::mt19937* random) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    for (int64_t row = 0; row < matrix_.rows; ++row) {
      for (int64_t col = 0; col < matrix_.cols; ++col) {
        const uint32_t bits = Encode(uniform(*random), matrix_.type);
        std::memcpy(At(row, col), &bits, static_cast<size_t>(size_));
      }
    }
    device_.Upload(bytes_);
  }
  void Download() {
    const std::vector<unsigned char> now = device_.Download();
    for (int64_t row = 0; row < matrix_.rows; ++row) {
      const size_t begin = static_cast<size_t>(At(row, 0) - bytes_.data());
      std::memcpy(At(row, 0), now.data() + begin, static_cast<size_t>(matrix_.cols * size_));
    }
    EXPECT_EQ(now, bytes_) << "bytes between the rows were written";
  }

  float operator()(int64_t row, int64_t col) { return Decode(At(row, col), matrix_.type); }
  std::string RowBits(int64_t row) {
    return std::string(reinterpret_cast<char*>(At(row, 0)),
                       static_cast<size_t>(matrix_.cols * size_));
  }
  const DeviceMatrix& get() const { return matrix_; }

 private:
  unsigned char* At(int64_t row, int64_t col) {
    return bytes_.data() + (offset_ + row * matrix_.stride + col) * size_;
  }

  const int64_t size_;
  std::vector<unsigned char> bytes_;
  emu::DeviceArray<unsigned char> device_;
  const DeviceMatrix matrix_;
  const int64_t offset_;
};

struct Shape {
  Element x_type = Element::kBF16, y_type = Element::kBF16;
  int64_t rows = 1, inputs = 1, outputs = 1;
  bool bias = false, accumulate = false, deterministic = false;
  int64_t padding = 0, offset = 0;  // Of every matrix, in elements.

  std::string Name() const {
    return absl::StrCat("[", rows, ", ", inputs, "] x ", outputs, ", types ",
                        static_cast<int>(x_type), " ", static_cast<int>(y_type), ", bias ", bias,
                        ", accumulate ", accumulate, ", deterministic ", deterministic,
                        ", padding ", padding, ", offset ", offset);
  }
};

// Half a step of the numbers below the normal ones.
double LeastRoundoff(Element type) { return type == Element::kF16 ? 0x1p-25 : 0; }

double UnitRoundoff(Element type) {
  return type == Element::kF32 ? 0x1p-24 : type == Element::kF16 ? 0x1p-11 : 0x1p-8;
}

class GemmTest : public ::testing::Test {
 protected:
  void SetUp() override { emu::ResetDevice(); }

  std::unique_ptr<Gemm> NewGemm(bool deterministic) {
    auto gemm = Gemm::Create({.deterministic = deterministic, .workspace_bytes = 1 << 20});
    EXPECT_TRUE(gemm.ok()) << gemm.status();
    return *std::move(gemm);
  }

  void Check(const Shape& shape) {
    SCOPED_TRACE(shape.Name());
    std::mt19937 random(7);
    TestMatrix x(shape.x_type, shape.rows, shape.inputs, shape.inputs + shape.padding,
                 shape.offset),
        weight(shape.x_type, shape.outputs, shape.inputs, shape.inputs + shape.padding,
               shape.offset),
        bias(shape.x_type, 1, shape.outputs, shape.outputs, shape.offset),
        y(shape.y_type, shape.rows, shape.outputs, shape.outputs + shape.padding, shape.offset);
    x.Fill(&random);
    weight.Fill(&random);
    bias.Fill(&random);
    if (shape.accumulate) y.Fill(&random);
    std::vector<double> expected, magnitude, between;
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t col = 0; col < shape.outputs; ++col) {
        double sum = shape.bias ? bias(0, col) : 0;
        if (shape.accumulate) sum += y(row, col);
        double most = std::abs(sum);
        for (int64_t k = 0; k < shape.inputs; ++k) {
          const double product = double{x(row, k)} * double{weight(col, k)};
          sum += product;
          most += std::abs(product);
        }
        expected.push_back(sum);
        magnitude.push_back(most);
        // Of three addends cuBLASLt rounds the sum of two, if y has 16 bits.
        const bool twice = shape.bias && shape.accumulate && shape.y_type != Element::kF32;
        between.push_back(
            twice ? std::max(std::abs(sum - bias(0, col)), std::abs(sum - y(row, col))) : 0);
      }
    }
    const std::unique_ptr<Gemm> gemm = NewGemm(shape.deterministic);
    const absl::Status status = gemm->Run(x.get(), weight.get(), shape.bias ? &bias.get() : nullptr,
                                          shape.accumulate, y.get(), nullptr);
    ASSERT_TRUE(status.ok()) << status;
    y.Download();
    for (int64_t row = 0; row < shape.rows; ++row) {
      for (int64_t col = 0; col < shape.outputs; ++col) {
        const size_t i = static_cast<size_t>(row * shape.outputs + col);
        const double bound =
            1e-6 * magnitude[i] + LeastRoundoff(shape.y_type) +
            1.01 * UnitRoundoff(shape.y_type) * (std::abs(expected[i]) + between[i]);
        ASSERT_NEAR(y(row, col), expected[i], bound) << "row " << row << ", column " << col;
      }
    }
  }
};

constexpr struct {
  Element x, y;
} kTypes[] = {{Element::kF32, Element::kF32},
              {Element::kBF16, Element::kBF16},
              {Element::kF16, Element::kF16},
              {Element::kBF16, Element::kF32},
              {Element::kF16, Element::kF32}};

TEST_F(GemmTest, ComputesOddShapesOfAllTypes) {
  for (const auto& type : kTypes) {
    for (const int64_t rows : {1, 3, 17, 65, 100}) {
      for (const int64_t inputs : {1, 65, 577}) {
        for (const int64_t outputs : {3, 17, 100}) {
          Check({.x_type = type.x,
                 .y_type = type.y,
                 .rows = rows,
                 .inputs = inputs,
                 .outputs = outputs});
        }
      }
    }
  }
}

TEST_F(GemmTest, AddsBiasAndWhatYHolds) {
  for (const auto& type : kTypes) {
    for (const bool deterministic : {false, true}) {
      for (int flags = 1; flags < 4; ++flags) {
        Check({.x_type = type.x,
               .y_type = type.y,
               .rows = 65,
               .inputs = 100,
               .outputs = 17,
               .bias = (flags & 1) != 0,
               .accumulate = (flags & 2) != 0,
               .deterministic = deterministic});
      }
    }
  }
}

TEST_F(GemmTest, TakesViewsOfAnyAlignment) {
  for (const bool deterministic : {false, true}) {
    for (const int64_t offset : {0, 1, 2, 3, 4, 8}) {
      for (const int64_t padding : {0, 1, 2, 4, 8}) {
        Check({.rows = 67,
               .inputs = 56,
               .outputs = 24,
               .bias = true,
               .accumulate = true,
               .deterministic = deterministic,
               .padding = padding,
               .offset = offset});
      }
    }
  }
}

TEST_F(GemmTest, TakesPatchesOfAnImageTower) {
  for (const int64_t padding : {0, 4}) {
    Check({.rows = 100, .inputs = 588, .outputs = 64, .padding = padding});
    Check({.x_type = Element::kF32,
           .y_type = Element::kF32,
           .rows = 577,
           .inputs = 588,
           .outputs = 64,
           .padding = padding});
  }
}

TEST_F(GemmTest, AddsALongBiasOfAnotherType) {
  Check({.x_type = Element::kBF16,
         .y_type = Element::kF32,
         .rows = 2050,
         .inputs = 3,
         .outputs = 5,
         .bias = true});
}

TEST_F(GemmTest, DoesNothingForNoRows) {
  const std::unique_ptr<Gemm> gemm = NewGemm(false);
  const DeviceMatrix none = {nullptr, Element::kF32, 0, 4, 4};
  TestMatrix weight(Element::kF32, 4, 4, 4, 0);
  EXPECT_TRUE(gemm->Run(none, weight.get(), nullptr, false, none, nullptr).ok());
  EXPECT_EQ(emu::GetCounters().matmuls, 0u);
}

// The bits of each row of a batch of `rows`, computed in calls of at most `batch` rows.
std::vector<std::string> BitsByBatch(Gemm* gemm, Element y_type, TestMatrix* x, TestMatrix* weight,
                                     TestMatrix* bias, int64_t batch) {
  TestMatrix y(y_type, x->get().rows, weight->get().rows, weight->get().rows, 0);
  for (int64_t row = 0; row < x->get().rows; row += batch) {
    const auto rows_of = [&](DeviceMatrix matrix) {
      matrix.data =
          static_cast<char*>(matrix.data) + row * matrix.stride * ElementSize(matrix.type);
      matrix.rows = std::min(batch, matrix.rows - row);
      return matrix;
    };
    const absl::Status status =
        gemm->Run(rows_of(x->get()), weight->get(), &bias->get(), false, rows_of(y.get()), nullptr);
    EXPECT_TRUE(status.ok()) << status;
  }
  y.Download();
  std::vector<std::string> bits;
  for (int64_t row = 0; row < x->get().rows; ++row) bits.push_back(y.RowBits(row));
  return bits;
}

TEST_F(GemmTest, DeterministicRowsDoNotDependOnTheirBatch) {
  for (const Element type : {Element::kF32, Element::kBF16}) {
    for (const int64_t inputs : {96, 577}) {
      std::mt19937 random(11);
      TestMatrix x(type, 130, inputs, inputs, 0), weight(type, 100, inputs, inputs, 0),
          bias(type, 1, 100, 100, 0);
      x.Fill(&random);
      weight.Fill(&random);
      bias.Fill(&random);
      const std::unique_ptr<Gemm> gemm = NewGemm(true), fast = NewGemm(false);
      const auto alone = BitsByBatch(gemm.get(), Element::kF32, &x, &weight, &bias, 1);
      for (const int64_t batch : {2, 3, 17, 63, 64, 65, 100, 130}) {
        EXPECT_EQ(BitsByBatch(gemm.get(), Element::kF32, &x, &weight, &bias, batch), alone)
            << batch;
      }
      // Without the mode they do, or this test could not fail.
      EXPECT_NE(BitsByBatch(fast.get(), Element::kF32, &x, &weight, &bias, 1),
                BitsByBatch(fast.get(), Element::kF32, &x, &weight, &bias, 130));
    }
  }
}

TEST_F(GemmTest, AsksForAnAlgorithmOncePerBucket) {
  const std::unique_ptr<Gemm> gemm = NewGemm(false);
  TestMatrix x(Element::kBF16, 64, 64, 64, 0), weight(Element::kBF16, 32, 64, 64, 0),
      y(Element::kBF16, 64, 32, 32, 0);
  const auto run = [&](int64_t rows) {
    DeviceMatrix some_x = x.get(), some_y = y.get();
    some_x.rows = some_y.rows = rows;
    ASSERT_TRUE(gemm->Run(some_x, weight.get(), nullptr, false, some_y, nullptr).ok());
  };
  for (int64_t rows = 33; rows <= 64; ++rows) run(rows);
  EXPECT_EQ(emu::GetCounters().heuristics, 1u);
  EXPECT_EQ(emu::GetCounters().matmuls, 32u);
  run(32);
  EXPECT_EQ(emu::GetCounters().heuristics, 2u);
}

TEST_F(GemmTest, DeterministicProductsOfAWeightShareOneAlgorithm) {
  const std::unique_ptr<Gemm> gemm = NewGemm(true);
  TestMatrix x(Element::kBF16, 200, 64, 64, 0), weight(Element::kBF16, 32, 64, 64, 0),
      y(Element::kBF16, 200, 32, 32, 0);
  for (const int64_t rows : {1, 7, 64, 65, 200}) {
    DeviceMatrix some_x = x.get(), some_y = y.get();
    some_x.rows = some_y.rows = rows;
    ASSERT_TRUE(gemm->Run(some_x, weight.get(), nullptr, false, some_y, nullptr).ok());
  }
  EXPECT_EQ(emu::GetCounters().heuristics, 1u);
  EXPECT_EQ(emu::GetCounters().matmuls, 1u + 1 + 1 + 2 + 4);
}

TEST_F(GemmTest, RunsInAGraphOnceItsShapeHasRun) {
  for (const bool deterministic : {false, true}) {
    emu::ResetDevice();
    std::mt19937 random(5);
    TestMatrix x(Element::kBF16, 5, 96, 96, 0), weight(Element::kBF16, 32, 96, 96, 0),
        y(Element::kF32, 5, 32, 32, 0);
    x.Fill(&random);
    weight.Fill(&random);
    cudaStream_t stream;
    ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
    {
      const std::unique_ptr<Gemm> gemm = NewGemm(deterministic);
      const auto run = [&] {
        return gemm->Run(x.get(), weight.get(), nullptr, false, y.get(), stream);
      };
      ASSERT_TRUE(run().ok());
      y.Download();
      const std::string before = y.RowBits(4);
      ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
      ASSERT_TRUE(run().ok());
      cudaGraph_t graph;
      cudaGraphExec_t exec;
      ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
      ASSERT_EQ(cudaGraphInstantiate(&exec, graph), cudaSuccess);
      ASSERT_EQ(cudaMemsetAsync(y.get().data, 0xFF, 5 * 32 * 4, stream), cudaSuccess);
      // A wider product outgrows the scratch that the graph names.
      TestMatrix wide_x(Element::kBF16, 1, 4000, 4000, 0),
          wide_weight(Element::kBF16, 4, 4000, 4000, 0), wide_y(Element::kF32, 1, 4, 4, 0);
      ASSERT_TRUE(
          gemm->Run(wide_x.get(), wide_weight.get(), nullptr, false, wide_y.get(), stream).ok());
      ASSERT_EQ(cudaGraphLaunch(exec, stream), cudaSuccess);
      y.Download();
      EXPECT_EQ(y.RowBits(4), before);
      cudaGraphExecDestroy(exec);
      cudaGraphDestroy(graph);
    }
    cudaStreamDestroy(stream);
  }
}

TEST_F(GemmTest, StreamsHaveWorkspacesOfTheirOwn) {
  cudaStream_t streams[2];
  for (cudaStream_t& stream : streams) ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  const std::unique_ptr<Gemm> gemm = NewGemm(false);
  TestMatrix x(Element::kF32, 2, 128, 128, 0), weight(Element::kF32, 8, 128, 128, 0),
      y(Element::kF32, 2, 8, 8, 0);
  for (const cudaStream_t stream : streams) {
    EXPECT_TRUE(gemm->Run(x.get(), weight.get(), nullptr, false, y.get(), stream).ok());
  }
}

TEST_F(GemmTest, TellsErrorsOfTheDevice) {
  TestMatrix x(Element::kF32, 2, 128, 128, 0), weight(Element::kF32, 8, 128, 128, 0),
      y(Element::kF32, 2, 8, 8, 0);
  const std::unique_ptr<Gemm> gemm = NewGemm(false);
  const auto run = [&] {
    return gemm->Run(x.get(), weight.get(), nullptr, false, y.get(), nullptr);
  };
  emu::SetFaults({.allocation = 1});
  EXPECT_EQ(run().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(cudaGetLastError(), cudaSuccess);  // It was told once.
  EXPECT_TRUE(run().ok());
  emu::SetFaults({.launch = 1});
  EXPECT_EQ(run().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(run().ok());
  emu::SetFaults({.device_lost = 1});
  EXPECT_EQ(run().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(run().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GemmTest, IsNotCreatedOnAnOldDriver) {
  emu::SetDeviceOptions({.driver_version = 12080});
  EXPECT_EQ(Gemm::Create({}).status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace prefixd::cuda
