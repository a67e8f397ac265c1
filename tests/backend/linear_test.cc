// Backend::Linear against the reference, and its rows against themselves.
#include <algorithm>
#include <cmath>

#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using LinearTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(LinearTest);

struct LinearCase {
  DType dtype = DType::kF32;
  HostMatrix x, weight;
  HostMatrix bias;  // Empty: none.
  Activation activation = Activation::kNone;
  HostMatrix start;  // Empty: y is overwritten.
};

HostMatrix RunLinear(Backend* backend, const LinearCase& c) {
  const auto weight = MakeWeight(backend, c.dtype, c.weight);
  const GuardedTensor x = GuardedTensor::Input(backend, c.x);
  const GuardedTensor bias = GuardedTensor::Input(backend, c.bias);
  const Backend::LinearOptions options = {.bias = c.bias.rows > 0 ? &bias.view() : nullptr,
                                          .activation = c.activation,
                                          .accumulate = c.start.rows > 0};
  const auto op = [&](const Tensor& y) { return backend->Linear(x.view(), *weight, options, y); };
  return c.start.rows > 0 ? RunOpOn(backend, c.start, op)
                          : RunOp(backend, c.x.rows, c.weight.rows, op);
}

// The sum of the magnitudes that enter each output: what rounding errors are measured by.
HostMatrix Magnitudes(Backend* reference, LinearCase c) {
  c.x = Absolute(c.x);
  c.weight = Absolute(c.weight);
  c.bias = Absolute(c.bias);
  c.start = Absolute(c.start);
  c.activation = Activation::kNone;
  return RunLinear(reference, c);
}

LinearCase RandomCase(RandomValues* random, DType dtype, int64_t rows, int64_t depth,
                      int64_t cols) {
  return {.dtype = dtype, .x = random->Matrix(rows, depth), .weight = random->Matrix(cols, depth)};
}

TEST_P(LinearTest, AgreesWithTheReferenceAtOddSizes) {
  RandomValues random(1);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t cols : GetParam().Sizes({1, 3, 17, 63, 64, 65, 100, 577})) {
      for (const int64_t depth : GetParam().Sizes({1, 3, 17, 63, 64, 65, 100, 577})) {
        for (const int64_t rows : GetParam().Sizes({1, 3, 17, 65})) {
          SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << " [" << rows << ", " << depth
                                            << "] x [" << depth << ", " << cols << "]");
          LinearCase c = RandomCase(&random, dtype, rows, depth, cols);
          if (GetParam().rounds_activations()) c.x = RoundedTo(DType::kBF16, c.x);
          ExpectNear(RunLinear(backend_.get(), c), RunLinear(reference_.get(), c), 2e-6,
                     Magnitudes(reference_.get(), c));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(LinearTest, AppliesBiasActivationAndResidualInThatOrder) {
  RandomValues random(2);
  for (const Activation activation :
       {Activation::kNone, Activation::kRelu, Activation::kSilu, Activation::kQuickGelu,
        Activation::kGelu, Activation::kGeluTanh}) {
    for (const bool with_bias : {false, true}) {
      for (const bool accumulate : {false, true}) {
        SCOPED_TRACE(::testing::Message() << "activation " << static_cast<int>(activation)
                                          << " bias " << with_bias << " residual " << accumulate);
        LinearCase c = RandomCase(&random, DType::kF32, 9, 17, 70);
        c.activation = activation;
        if (with_bias) c.bias = random.Matrix(1, 70);
        if (accumulate) c.start = random.Matrix(9, 70);
        ExpectNear(RunLinear(backend_.get(), c), RunLinear(reference_.get(), c), 3e-6,
                   Magnitudes(reference_.get(), c));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(LinearTest, ARowDependsOnItselfAlone) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(3);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const bool accumulate : {false, true}) {
      SCOPED_TRACE(DTypeName(dtype));
      const int32_t rows = GetParam().Many(100, 40);
      LinearCase c = RandomCase(&random, dtype, rows, 129, 210);
      c.activation = Activation::kSilu;
      c.bias = random.Matrix(1, 210);
      if (accumulate) c.start = random.Matrix(rows, 210);
      ExpectRowsStandAlone(GetParam(), rows, [&](Backend* backend, int64_t begin, int64_t count) {
        LinearCase part = c;
        part.x = c.x.Rows(begin, count);
        if (accumulate) part.start = c.start.Rows(begin, count);
        return RunLinear(backend, part);
      });
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(LinearTest, ARowIsNotTouchedByNansInItsNeighbours) {
  RandomValues random(4);
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    LinearCase c = RandomCase(&random, dtype, 13, 65, 65);
    const HostMatrix clean = RunLinear(backend_.get(), c);
    for (int64_t t = 0; t < 13; ++t) {
      if (t != 6) std::fill_n(c.x.row(t), 65, NAN);
    }
    ExpectSameBits(RunLinear(backend_.get(), c).Rows(6, 1), clean.Rows(6, 1));
  }
}

TEST_P(LinearTest, OfNoRowsDoesNothing) {
  RandomValues random(5);
  const HostMatrix y = RunLinear(backend_.get(), RandomCase(&random, DType::kF32, 0, 5, 7));
  EXPECT_EQ(y.rows, 0);
}

}  // namespace
}  // namespace prefixd
