// Every op on numbers small enough to work out by hand; the reference must pass like all others.
#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using LiteralOpsTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(LiteralOpsTest);

HostMatrix Rows2x2(float a, float b, float c, float d) {
  HostMatrix x(2, 2);
  x.values = {a, b, c, d};
  return x;
}

TEST_P(LiteralOpsTest, Linear) {
  HostMatrix w(3, 2);
  w.values = {1, 0, 0, 1, 1, -1};
  const auto weight = MakeWeight(backend_.get(), DType::kBF16, w);
  const GuardedTensor x = GuardedTensor::Input(backend_.get(), Rows2x2(1, 2, 3, 4));
  const GuardedTensor bias = GuardedTensor::Input(backend_.get(), RowVector({10, 20, -1}));
  const auto run = [&](const Backend::LinearOptions& options) {
    const auto op = [&](const Tensor& y) {
      return backend_->Linear(x.view(), *weight, options, y);
    };
    return options.accumulate ? RunOpOn(backend_.get(), HostMatrix(2, 3, 0.5f), op).values
                              : RunOp(backend_.get(), 2, 3, op).values;
  };
  EXPECT_EQ(run({}), (std::vector<float>{1, 2, -1, 3, 4, -1}));
  EXPECT_EQ(run({.bias = &bias.view()}), (std::vector<float>{11, 22, -2, 13, 24, -2}));
  EXPECT_EQ(run({.bias = &bias.view(), .activation = Activation::kRelu, .accumulate = true}),
            (std::vector<float>{11.5, 22.5, 0.5, 13.5, 24.5, 0.5}));
}

TEST_P(LiteralOpsTest, RmsNorm) {
  const GuardedTensor x = GuardedTensor::Input(backend_.get(), Rows2x2(3, 4, 0, 0));
  const GuardedTensor weight = GuardedTensor::Input(backend_.get(), RowVector({1, 2}));
  const HostMatrix y = RunOp(backend_.get(), 2, 2, [&](const Tensor& out) {
    return backend_->RmsNorm(x.view(), weight.view(), {.eps = 1e-5f}, out);
  });
  // 3 / sqrt(12.50001), 2 * 4 / sqrt(12.50001).
  ExpectNearValue(y.values[0], 0.84852780f, 1e-6);
  ExpectNearValue(y.values[1], 2.26274080f, 2e-6);
  EXPECT_EQ(y.values[2], 0.0f);
  EXPECT_EQ(y.values[3], 0.0f);
}

TEST_P(LiteralOpsTest, LayerNorm) {
  const GuardedTensor x = GuardedTensor::Input(backend_.get(), Rows2x2(1, 3, 5, 5));
  const GuardedTensor weight = GuardedTensor::Input(backend_.get(), RowVector({2, 1}));
  const GuardedTensor bias = GuardedTensor::Input(backend_.get(), RowVector({10, 20}));
  const HostMatrix y = RunOp(backend_.get(), 2, 2, [&](const Tensor& out) {
    return backend_->LayerNorm(x.view(), weight.view(), bias.view(), 1.0f, out);
  });
  // Mean 2, variance 1, so the factor is 1 / sqrt(1 + 1).
  ExpectNearValue(y.values[0], 10 - 2 * 0.70710678f, 2e-6);
  ExpectNearValue(y.values[1], 20 + 0.70710678f, 4e-6);
  EXPECT_EQ(y.values[2], 10.0f);
  EXPECT_EQ(y.values[3], 20.0f);
}

TEST_P(LiteralOpsTest, GatedActivation) {
  const GuardedTensor x = GuardedTensor::Input(backend_.get(), RowVector({0, 1, -1, 5, 2, 10}));
  const auto run = [&](Activation activation) {
    return RunOp(
               backend_.get(), 1, 3,
               [&](const Tensor& y) { return backend_->GatedActivation(x.view(), activation, y); })
        .values;
  };
  const auto expect = [&](Activation activation, double at_one, double at_minus_one) {
    const std::vector<float> y = run(activation);
    EXPECT_EQ(y[0], 0.0f);
    ExpectNearValue(y[1], 2 * at_one, 1e-6);
    ExpectNearValue(y[2], 10 * at_minus_one, 2e-6);
  };
  expect(Activation::kNone, 1, -1);
  expect(Activation::kRelu, 1, 0);
  expect(Activation::kSilu, 0.73105858, -0.26894142);
  expect(Activation::kQuickGelu, 0.84579577, -0.15420423);
  expect(Activation::kGelu, 0.84134475, -0.15865525);
  expect(Activation::kGeluTanh, 0.84119199, -0.15880801);
}

TEST_P(LiteralOpsTest, Add) {
  const GuardedTensor x = GuardedTensor::Input(backend_.get(), RowVector({1, 2}));
  const HostMatrix y = RunOpOn(backend_.get(), Rows2x2(10, 20, 30, 40),
                               [&](const Tensor& out) { return backend_->Add(x.view(), out); });
  EXPECT_EQ(y.values, (std::vector<float>{11, 22, 31, 42}));
}

TEST_P(LiteralOpsTest, Embed) {
  const auto table = MakeWeight(backend_.get(), DType::kF16, Rows2x2(1, 2, 3, 4));
  const std::vector<int32_t> ids = {1, 1, 0};
  const HostMatrix y = RunOp(backend_.get(), 3, 2,
                             [&](const Tensor& out) { return backend_->Embed(*table, ids, out); });
  EXPECT_EQ(y.values, (std::vector<float>{3, 4, 3, 4, 1, 2}));
}

TEST_P(LiteralOpsTest, RotaryAngles) {
  const std::vector<int32_t> positions = {0, 1, 2};
  const std::vector<float> frequencies = {1.0f, 0.5f};
  const HostMatrix y = RunOp(
      backend_.get(), 3, 4,
      [&](const Tensor& out) { return backend_->RotaryAngles(positions, frequencies, out); },
      TensorUse::kAngles);
  const std::vector<float> expected = {1,
                                       1,
                                       0,
                                       0,  //
                                       0.54030231f,
                                       0.87758256f,
                                       0.84147098f,
                                       0.47942554f,  //
                                       -0.41614684f,
                                       0.54030231f,
                                       0.90929743f,
                                       0.84147098f};
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(y.values[i], expected[i], 1e-7);
}

TEST_P(LiteralOpsTest, WriteKvTurnsPairsOfHalves) {
  // cos 0 and sin 1 turn (a, b) into (-b, a); pairs are (x[i], x[i + 2]).
  const auto pool = MakePool(backend_.get(), {.num_pages = 1, .num_kv_heads = 1, .head_dim = 4});
  const GuardedTensor angles =
      GuardedTensor::Output(backend_.get(), RowVector({0, 0, 1, 1}), TensorUse::kAngles);
  const std::vector<int32_t> pages = {0}, slots = {0};
  const KvSegment segment = {
      .num_rows = 1, .pages = pages, .write_slots = slots, .first_visible = 1};
  const HostMatrix qkv = RowVector({1, 2, 3, 4, 0, 0, 0, 0, 5, 6, 7, 8});
  const GuardedTensor rows = GuardedTensor::Output(backend_.get(), qkv);
  ASSERT_TRUE(
      backend_
          ->WriteKv(rows.view(), &angles.view(), 1, absl::MakeConstSpan(&segment, 1), pool.get())
          .ok());
  const HostMatrix after = rows.Read();
  EXPECT_EQ(std::vector<float>(after.values.begin(), after.values.begin() + 4),
            (std::vector<float>{-3, -4, 1, 2}));
  const HostMatrix y = RunOp(backend_.get(), 1, 4, [&](const Tensor& out) {
    return backend_->PagedAttention(rows.view(), *pool, 1, {.scale = 1.0f},
                                    absl::MakeConstSpan(&segment, 1), out);
  });
  EXPECT_EQ(y.values, (std::vector<float>{5, 6, 7, 8})) << "values are not rotated";
}

}  // namespace
}  // namespace prefixd
