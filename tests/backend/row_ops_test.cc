// Ops that work row by row: norms, activations, sums, copies, embedding, angles.
#include <algorithm>
#include <cmath>

#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using RowOpsTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(RowOpsTest);

const std::vector<int32_t> kOddSizes = {1, 3, 17, 63, 64, 65, 100, 577};

HostMatrix RunRmsNorm(Backend* backend, const HostMatrix& x, const HostMatrix& weight,
                      float weight_offset = 0) {
  const GuardedTensor in = GuardedTensor::Input(backend, x);
  const GuardedTensor w = GuardedTensor::Input(backend, weight);
  return RunOp(backend, x.rows, x.cols, [&](const Tensor& y) {
    return backend->RmsNorm(in.view(), w.view(), {.eps = 1e-5f, .weight_offset = weight_offset}, y);
  });
}

HostMatrix RunLayerNorm(Backend* backend, const HostMatrix& x, const HostMatrix& weight,
                        const HostMatrix& bias) {
  const GuardedTensor in = GuardedTensor::Input(backend, x);
  const GuardedTensor w = GuardedTensor::Input(backend, weight);
  const GuardedTensor b = GuardedTensor::Input(backend, bias);
  return RunOp(backend, x.rows, x.cols, [&](const Tensor& y) {
    return backend->LayerNorm(in.view(), w.view(), b.view(), 1e-5f, y);
  });
}

HostMatrix RunGated(Backend* backend, const HostMatrix& x, Activation activation) {
  const GuardedTensor in = GuardedTensor::Input(backend, x);
  return RunOp(backend, x.rows, x.cols / 2,
               [&](const Tensor& y) { return backend->GatedActivation(in.view(), activation, y); });
}

HostMatrix RunAdd(Backend* backend, const HostMatrix& x, const HostMatrix& start) {
  const GuardedTensor in = GuardedTensor::Input(backend, x);
  return RunOpOn(backend, start, [&](const Tensor& y) { return backend->Add(in.view(), y); });
}

TEST_P(RowOpsTest, NormsAgreeWithTheReference) {
  RandomValues random(10);
  for (const int64_t cols : GetParam().Sizes(kOddSizes)) {
    for (const int64_t rows : {1, 3, 65}) {
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols);
      HostMatrix x = random.Matrix(rows, cols);
      for (float& value : x.values) value = value * 3 + 2;
      const HostMatrix weight = random.Matrix(1, cols);
      const HostMatrix bias = random.Matrix(1, cols);
      ExpectNear(RunRmsNorm(backend_.get(), x, weight), RunRmsNorm(reference_.get(), x, weight),
                 5e-6);
      // A single column has no variance: rounding alone must not be blown up by 1 / sqrt(eps).
      ExpectNear(RunLayerNorm(backend_.get(), x, weight, bias),
                 RunLayerNorm(reference_.get(), x, weight, bias), 2e-5);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RowOpsTest, WeightsMayBeDifferencesFromOne) {
  RandomValues random(17);
  for (const int64_t cols : GetParam().Sizes(kOddSizes)) {
    SCOPED_TRACE(cols);
    const HostMatrix x = Stored(random.Matrix(3, cols));
    const HostMatrix weight = Stored(random.Matrix(1, cols));
    HostMatrix expected(3, cols);
    for (int64_t t = 0; t < 3; ++t) {
      double squares = 0;
      for (int64_t c = 0; c < cols; ++c) squares += double{x.row(t)[c]} * x.row(t)[c];
      for (int64_t c = 0; c < cols; ++c) {
        expected.row(t)[c] =
            static_cast<float>(x.row(t)[c] / std::sqrt(squares / static_cast<double>(cols) + 1e-5) *
                               (1.0 + weight.row(0)[c]));
      }
    }
    ExpectNear(RunRmsNorm(backend_.get(), x, weight, 1.0f), expected, 5e-6);
    if (HasFatalFailure()) return;
  }
}

TEST_P(RowOpsTest, ScaleAndClampWorkOnEveryElement) {
  RandomValues random(18);
  for (const int64_t cols : GetParam().Sizes(kOddSizes)) {
    for (const int64_t rows : {1, 3, 65}) {
      const HostMatrix start = Stored(random.Matrix(rows, cols));
      HostMatrix scaled = start, clamped = start;
      for (float& value : scaled.values) value *= 45.25f;
      for (float& value : clamped.values) {
        if (value > 0.375f) value = 0.375f;
        if (value < -0.375f) value = -0.375f;
      }
      ExpectSameBits(RunOpOn(backend_.get(), start,
                             [&](const Tensor& y) { return backend_->Scale(45.25f, y); }),
                     Stored(scaled));
      ExpectSameBits(RunOpOn(backend_.get(), start,
                             [&](const Tensor& y) { return backend_->Clamp(0.375f, y); }),
                     clamped);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RowOpsTest, NormsWorkInPlace) {
  RandomValues random(11);
  const HostMatrix x = random.Matrix(5, 67);
  const HostMatrix weight = random.Matrix(1, 67);
  const HostMatrix bias = random.Matrix(1, 67);
  const GuardedTensor w = GuardedTensor::Input(backend_.get(), weight);
  const GuardedTensor b = GuardedTensor::Input(backend_.get(), bias);
  ExpectSameBits(
      RunOpOn(backend_.get(), x,
              [&](const Tensor& y) { return backend_->RmsNorm(y, w.view(), {.eps = 1e-5f}, y); }),
      RunRmsNorm(backend_.get(), x, weight));
  ExpectSameBits(RunOpOn(backend_.get(), x,
                         [&](const Tensor& y) {
                           return backend_->LayerNorm(y, w.view(), b.view(), 1e-5f, y);
                         }),
                 RunLayerNorm(backend_.get(), x, weight, bias));
}

TEST_P(RowOpsTest, GatedActivationsAgreeWithTheReference) {
  RandomValues random(12);
  for (const Activation activation :
       {Activation::kNone, Activation::kRelu, Activation::kSilu, Activation::kQuickGelu,
        Activation::kGelu, Activation::kGeluTanh}) {
    for (const int64_t cols : GetParam().Sizes(kOddSizes)) {
      SCOPED_TRACE(::testing::Message()
                   << "activation " << static_cast<int>(activation) << ", " << cols << " columns");
      HostMatrix x = random.Matrix(4, 2 * cols);
      for (float& value : x.values) value *= 8;
      ExpectNear(RunGated(backend_.get(), x, activation), RunGated(reference_.get(), x, activation),
                 4e-5);  // Values up to 64.
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(RowOpsTest, ActivationsStayFiniteAtTheEnds) {
  HostMatrix gate = Stored(RowVector(
      {-1e30f, -1e4f, -104.0f, -88.0f, -20.0f, -0.0f, 1e-30f, 20.0f, 88.0f, 104.0f, 1e4f, 1e30f}));
  for (float& value : gate.values) {
    if (std::isinf(value)) value = std::copysign(6e4f, value);
  }
  HostMatrix x(1, 2 * gate.cols, 1.0f);
  std::copy(gate.values.begin(), gate.values.end(), x.values.begin());
  for (const Activation activation : {Activation::kRelu, Activation::kSilu, Activation::kQuickGelu,
                                      Activation::kGelu, Activation::kGeluTanh}) {
    SCOPED_TRACE(static_cast<int>(activation));
    const HostMatrix y = RunGated(backend_.get(), x, activation);
    for (int64_t i = 0; i < gate.cols; ++i) {
      const float limit = std::max(gate.values[i], 0.0f);
      SCOPED_TRACE(gate.values[i]);
      ExpectNearValue(y.values[i], limit, 1e-6 + 1e-6 * limit);
    }
  }
}

TEST_P(RowOpsTest, AddTakesAWholeMatrixOrOneRowForAll) {
  RandomValues random(13);
  for (const int64_t cols : GetParam().Sizes(kOddSizes)) {
    for (const int64_t rows : {1, 3, 65}) {
      const HostMatrix start = Stored(random.Matrix(rows, cols));
      for (const int64_t x_rows : {int64_t{1}, rows}) {
        const HostMatrix x = Stored(random.Matrix(x_rows, cols));
        HostMatrix expected = start;
        for (int64_t t = 0; t < rows; ++t) {
          for (int64_t i = 0; i < cols; ++i) {
            expected.row(t)[i] += x.row(x_rows == 1 ? 0 : t)[i];
          }
        }
        ExpectSameBits(RunAdd(backend_.get(), x, start), Stored(expected));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(RowOpsTest, RowsStandAlone) {
  RandomValues random(14);
  PREFIXD_NEEDS_EXACT_ROWS();
  const int64_t rows = GetParam().Many(70, 20), cols = GetParam().Many(577, 100);
  const HostMatrix x = random.Matrix(rows, 2 * cols);
  const HostMatrix weight = random.Matrix(1, 2 * cols);
  const HostMatrix bias = random.Matrix(1, 2 * cols);
  {
    SCOPED_TRACE("RmsNorm");
    ExpectRowsStandAlone(GetParam(), rows, [&](Backend* backend, int64_t begin, int64_t count) {
      return RunRmsNorm(backend, x.Rows(begin, count), weight);
    });
  }
  {
    SCOPED_TRACE("LayerNorm");
    ExpectRowsStandAlone(GetParam(), rows, [&](Backend* backend, int64_t begin, int64_t count) {
      return RunLayerNorm(backend, x.Rows(begin, count), weight, bias);
    });
  }
  for (const Activation activation :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh}) {
    SCOPED_TRACE("GatedActivation");
    ExpectRowsStandAlone(GetParam(), rows, [&](Backend* backend, int64_t begin, int64_t count) {
      return RunGated(backend, x.Rows(begin, count), activation);
    });
  }
}

TEST_P(RowOpsTest, AnElementsBitsDoNotDependOnItsColumn) {
  // The vector body and the tail compute one polynomial.
  for (const Activation activation :
       {Activation::kSilu, Activation::kQuickGelu, Activation::kGelu, Activation::kGeluTanh}) {
    const HostMatrix x(1, 2 * 77, 0.7310586f);
    const HostMatrix y = RunGated(backend_.get(), x, activation);
    for (int64_t i = 1; i < y.cols; ++i) ASSERT_EQ(y.values[i], y.values[0]) << "column " << i;
  }
}

TEST_P(RowOpsTest, EmbedReadsWeightsExactly) {
  RandomValues random(15);
  const std::vector<int32_t> ids = {0, 99, 64, 63, 65, 64, 1};
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const int64_t cols : GetParam().Sizes(kOddSizes)) {
      const HostMatrix table = random.Matrix(100, cols);
      const auto matrix = MakeWeight(backend_.get(), dtype, table);
      const HostMatrix y = RunOp(backend_.get(), 7, cols, [&](const Tensor& out) {
        return backend_->Embed(*matrix, ids, out);
      });
      const HostMatrix rounded = Stored(RoundedTo(dtype, table));
      for (size_t i = 0; i < ids.size(); ++i) {
        ExpectSameBits(y.Rows(i, 1), rounded.Rows(ids[i], 1));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(RowOpsTest, CopyRowsMovesNamedRowsAndLeavesTheOthers) {
  RandomValues random(16);
  for (const int64_t cols : GetParam().Sizes(kOddSizes)) {
    const HostMatrix x = Stored(random.Matrix(6, cols));
    const HostMatrix start = Stored(random.Matrix(5, cols));
    const GuardedTensor in = GuardedTensor::Input(backend_.get(), x);
    const std::vector<int32_t> from = {5, 0, 5}, to = {1, 4, 0};
    const HostMatrix y = RunOpOn(backend_.get(), start, [&](const Tensor& out) {
      return backend_->CopyRows(in.view(), from, to, out);
    });
    ExpectSameBits(y.Rows(1, 1), x.Rows(5, 1));
    ExpectSameBits(y.Rows(4, 1), x.Rows(0, 1));
    ExpectSameBits(y.Rows(0, 1), x.Rows(5, 1));
    ExpectSameBits(y.Rows(2, 2), start.Rows(2, 2));
    if (HasFatalFailure()) return;
  }
}

TEST_P(RowOpsTest, RotaryAnglesRoundTheProductToFloat) {
  const std::vector<int32_t> positions = {0, 1, 17, 4095, 131071};
  std::vector<float> frequencies;
  for (int i = 0; i < 33; ++i) {
    frequencies.push_back(static_cast<float>(std::pow(10000.0, -i / 33.0)));
  }
  const HostMatrix y = RunOp(
      backend_.get(), 5, 66,
      [&](const Tensor& out) { return backend_->RotaryAngles(positions, frequencies, out); },
      TensorUse::kAngles);
  for (int64_t t = 0; t < 5; ++t) {
    for (int64_t i = 0; i < 33; ++i) {
      const float angle = static_cast<float>(positions[t]) * frequencies[i];
      EXPECT_NEAR(y.row(t)[i], std::cos(double{angle}), 1.5e-7);
      EXPECT_NEAR(y.row(t)[33 + i], std::sin(double{angle}), 1.5e-7);
    }
  }
}

}  // namespace
}  // namespace prefixd
