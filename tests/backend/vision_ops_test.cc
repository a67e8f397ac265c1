// VisionAttention and Patchify.
#include <cmath>

#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using VisionOpsTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(VisionOpsTest);

HostMatrix RunVision(Backend* backend, const HostMatrix& qkv, int num_heads) {
  const GuardedTensor in = GuardedTensor::Input(backend, qkv);
  const int64_t width = qkv.cols / 3;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width) / num_heads));
  return RunOp(backend, qkv.rows, width, [&](const Tensor& y) {
    return backend->VisionAttention(in.view(), num_heads, scale, y);
  });
}

TEST_P(VisionOpsTest, AttentionAgreesWithTheReference) {
  RandomValues random(30);
  for (const auto& [num_heads, head_dim] :
       GetParam().Cases(std::vector<std::pair<int, int>>{{1, 5}, {2, 64}, {3, 24}, {2, 80}})) {
    for (const int64_t rows : GetParam().Sizes({1, 3, 17, 63, 64, 65, 100, 257, 577})) {
      SCOPED_TRACE(::testing::Message() << num_heads << " heads of " << head_dim << ", " << rows);
      const HostMatrix qkv = random.Matrix(rows, 3 * num_heads * head_dim);
      ExpectNear(RunVision(backend_.get(), qkv, num_heads),
                 RunVision(reference_.get(), qkv, num_heads), 3e-6, RelativeTo::kMatrix);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(VisionOpsTest, AttentionIsTheSameAtEveryThreadCountAndAfterALargerImage) {
  RandomValues random(31);
  const HostMatrix qkv = random.Matrix(100, 3 * 2 * 24);
  const HostMatrix larger = random.Matrix(200, 3 * 2 * 24);
  const HostMatrix once = RunVision(backend_.get(), qkv, 2);
  for (const int threads : GetParam().Threads({1, 2, 3})) {
    const auto backend = GetParam().Create(threads);
    RunVision(backend.get(), larger, 2);
    ExpectSameBits(RunVision(backend.get(), qkv, 2), once);
  }
}

TEST_P(VisionOpsTest, AttentionSeesTheRowsBehind) {
  // Both queries see k0 with score 0 and k1 with score ln 3.
  const float ln3 = std::log(3.0f);
  HostMatrix qkv(2, 3);
  qkv.values = {1, 0,   4,  //
                1, ln3, 8};
  const HostMatrix y = RunVision(backend_.get(), qkv, 1);
  ExpectNearValue(y.values[0], 7.0f, 2e-6);
  ExpectNearValue(y.values[1], 7.0f, 2e-6);
}

TEST_P(VisionOpsTest, PatchifyGoesByChannelThenRowAndIgnoresTheRemainder) {
  constexpr int kSide = 5;
  HostMatrix pixels(3, kSide * kSide);
  for (int channel = 0; channel < 3; ++channel) {
    for (int row = 0; row < kSide; ++row) {
      for (int col = 0; col < kSide; ++col) {
        pixels.row(channel)[row * kSide + col] = static_cast<float>(100 * channel + 10 * row + col);
      }
    }
  }
  const GuardedTensor in = GuardedTensor::Input(backend_.get(), pixels);
  const HostMatrix y = RunOp(backend_.get(), 4, 12, [&](const Tensor& out) {
    return backend_->Patchify(in.view(), 2, out);
  });
  EXPECT_EQ(y.values,
            (std::vector<float>{0,  1,  10, 11, 100, 101, 110, 111, 200, 201, 210, 211,  //
                                2,  3,  12, 13, 102, 103, 112, 113, 202, 203, 212, 213,  //
                                20, 21, 30, 31, 120, 121, 130, 131, 220, 221, 230, 231,  //
                                22, 23, 32, 33, 122, 123, 132, 133, 222, 223, 232, 233}));
}

TEST_P(VisionOpsTest, PatchifyAgreesWithTheReferenceAtModelSizes) {
  RandomValues random(32);
  for (const auto& [side, patch] :
       std::vector<std::pair<int, int>>{{28, 14}, {64, 8}, {33, 16}, {7, 7}, {3, 1}}) {
    const HostMatrix pixels = random.Matrix(3, side * side);
    const int64_t grid = side / patch;
    const auto run = [&](Backend* backend) {
      const GuardedTensor in = GuardedTensor::Input(backend, pixels);
      return RunOp(backend, grid * grid, 3 * patch * patch,
                   [&](const Tensor& y) { return backend->Patchify(in.view(), patch, y); });
    };
    ExpectSameBits(run(backend_.get()), run(reference_.get()));
  }
}

}  // namespace
}  // namespace prefixd
