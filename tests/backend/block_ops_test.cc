// Linear and Embed of weights in blocks: against the reference with the same values in float32, and
// bit for bit against the backend itself with these.
#include <algorithm>

#include "tests/backend/block_weights.h"
#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using BlockOpsTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(BlockOpsTest);

HostMatrix RunLinear(Backend* backend, const HostMatrix& x, const Matrix& weight) {
  const GuardedTensor input = GuardedTensor::Input(backend, x);
  return RunOp(backend, x.rows, weight.rows(),
               [&](const Tensor& y) { return backend->Linear(input.view(), weight, {}, y); });
}

HostMatrix RunWidened(Backend* backend, const HostMatrix& x, const HostMatrix& values) {
  return RunLinear(backend, x, *MakeWeight(backend, DType::kF32, values));
}

TEST_P(BlockOpsTest, LinearAgreesWithTheWidenedMatrix) {
  RandomValues random(1);
  uint32_t seed = 0;
  for (const DType dtype : kBlockTypes) {
    const int32_t block = static_cast<int32_t>(BlockOf(dtype).elements);
    const std::vector<int32_t> depths =  // Around the 128 values that are widened at a time.
        block == 32 ? std::vector<int32_t>{32, 96, 128, 160, 320, 576}
                    : std::vector<int32_t>{256, 512, 768};
    for (const int32_t depth : GetParam().Cases(depths)) {
      for (const int64_t cols : GetParam().Sizes({1, 63, 64, 150})) {
        const BlockWeights weights = RandomBlocks(++seed, dtype, cols, depth);
        const HostMatrix x = random.Matrix(GetParam().Many(200, 40), depth);
        const HostMatrix expected = RunWidened(reference_.get(), x, weights.values);
        const HostMatrix magnitudes =
            RunWidened(reference_.get(), Absolute(x), Absolute(weights.values));
        const HostMatrix widened = RunWidened(backend_.get(), x, weights.values);
        for (const int64_t rows : GetParam().Sizes({1, 2, 3, 4, 5, 7, 17, 200})) {
          SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << " [" << rows << ", " << depth
                                            << "] x [" << depth << ", " << cols << "]");
          const HostMatrix y = RunLinear(backend_.get(), x.Rows(0, std::min(rows, x.rows)),
                                         *MakeBlockWeight(backend_.get(), weights));
          ExpectNear(y, expected.Rows(0, y.rows), 2e-6, magnitudes.Rows(0, y.rows));
          if (GetParam().exact) ExpectSameBits(y, widened.Rows(0, y.rows));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(BlockOpsTest, ARowOfLinearDependsOnItselfAlone) {
  PREFIXD_NEEDS_EXACT_ROWS();
  RandomValues random(2);
  for (const DType dtype : kBlockTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const int32_t rows = GetParam().Many(100, 40);
    const BlockWeights weights = RandomBlocks(3, dtype, 210, 512);
    const HostMatrix x = random.Matrix(rows, 512);
    ExpectRowsStandAlone(GetParam(), rows, [&](Backend* backend, int64_t begin, int64_t count) {
      return RunLinear(backend, x.Rows(begin, count), *MakeBlockWeight(backend, weights));
    });
    if (HasFatalFailure()) return;
  }
}

TEST_P(BlockOpsTest, LinearAppliesBiasActivationAndResidual) {
  RandomValues random(4);
  for (const DType dtype : kBlockTypes) {
    for (const int64_t rows : {2, 9}) {
      SCOPED_TRACE(::testing::Message() << DTypeName(dtype) << " of " << rows << " rows");
      const BlockWeights weights = RandomBlocks(5, dtype, 70, 256);
      const HostMatrix x = random.Matrix(rows, 256), start = random.Matrix(rows, 70);
      const HostMatrix bias = random.Matrix(1, 70);
      const auto run = [&](Backend* backend, const Matrix& weight) {
        const GuardedTensor input = GuardedTensor::Input(backend, x);
        const GuardedTensor bias_input = GuardedTensor::Input(backend, bias);
        return RunOpOn(backend, start, [&](const Tensor& y) {
          return backend->Linear(
              input.view(), weight,
              {.bias = &bias_input.view(), .activation = Activation::kSilu, .accumulate = true}, y);
        });
      };
      ExpectNear(run(backend_.get(), *MakeBlockWeight(backend_.get(), weights)),
                 run(reference_.get(), *MakeWeight(reference_.get(), DType::kF32, weights.values)),
                 1e-4);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(BlockOpsTest, EmbedGivesTheValuesOfTheRow) {
  for (const DType dtype : kBlockTypes) {
    SCOPED_TRACE(DTypeName(dtype));
    const BlockWeights weights = RandomBlocks(6, dtype, 131, 768);
    const auto table = MakeBlockWeight(backend_.get(), weights);
    const std::vector<int32_t> ids = {130, 0, 64, 63, 64, 127, 1};
    const HostMatrix y = RunOp(backend_.get(), ids.size(), 768, [&](const Tensor& out) {
      return backend_->Embed(*table, ids, out);
    });
    for (size_t i = 0; i < ids.size(); ++i) {
      ExpectSameBits(y.Rows(i, 1), Stored(weights.values.Rows(ids[i], 1)));
    }
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace prefixd
