#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "engine/backend/cuda/kernels/tile_attention.h"
#include "tests/cuda_emulation/chunk_batch.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/paged_reference.h"

namespace prefixd::cuda_test {
namespace {

using cuda::KernelBug;

struct VisionCase {
  Element type = Element::kBF16;
  int64_t rows = 1;
  int head_dim = 64;
  int num_heads = 1;
  int64_t margin = 8;  // Columns between rows, NaN; not a multiple of 8: rows are unaligned.
};

double MaxError(Element type) { return type == Element::kF32 ? 1e-5 : 5e-3; }

std::vector<double> Reference(const HostMatrix& qkv, int num_heads, float scale) {
  const int64_t width = qkv.cols() / 3, head_dim = width / num_heads;
  std::vector<double> y(qkv.rows() * width, 0.0), weights(qkv.rows());
  std::vector<double> values(qkv.rows() * qkv.cols());
  for (int64_t i = 0; i < qkv.rows(); ++i) {
    for (int64_t c = 0; c < qkv.cols(); ++c) values[i * qkv.cols() + c] = qkv.at(i, c);
  }
  for (int64_t row = 0; row < qkv.rows(); ++row) {
    for (int head = 0; head < num_heads; ++head) {
      const double* q = values.data() + row * qkv.cols() + head * head_dim;
      for (int64_t key = 0; key < qkv.rows(); ++key) {
        const double* k = values.data() + key * qkv.cols() + width + head * head_dim;
        weights[key] = 0;
        for (int64_t d = 0; d < head_dim; ++d) weights[key] += q[d] * k[d] * scale;
      }
      const double largest = *std::max_element(weights.begin(), weights.end());
      double sum = 0;
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      for (int64_t key = 0; key < qkv.rows(); ++key) {
        const double* v = values.data() + key * qkv.cols() + 2 * width + head * head_dim;
        for (int64_t d = 0; d < head_dim; ++d) {
          y[row * width + head * head_dim + d] += weights[key] / sum * v[d];
        }
      }
    }
  }
  return y;
}

struct VisionRun {
  explicit VisionRun(const VisionCase& test)
      : num_heads(test.num_heads),
        scale(1.0f / std::sqrt(static_cast<float>(test.head_dim))),
        qkv(test.type, test.rows, 3 * int64_t{test.num_heads} * test.head_dim,
            3 * int64_t{test.num_heads} * test.head_dim + test.margin),
        y(test.type, test.rows, int64_t{test.num_heads} * test.head_dim,
          int64_t{test.num_heads} * test.head_dim + test.margin) {
    std::mt19937_64 generator(11);
    qkv.FillNormal(&generator);
    want = Reference(qkv, num_heads, scale);
  }

  cudaError_t Run() {
    emu::DeviceArray<uint8_t> device_qkv(qkv.bytes());
    emu::DeviceArray<uint8_t> device_y(std::vector<uint8_t>(y.bytes().size(), 0xFF));
    const cudaError_t error = cuda::LaunchVisionAttention(qkv.View(device_qkv.data()), num_heads,
                                                          scale, y.View(device_y.data()), nullptr);
    y.bytes() = device_y.Download();
    return error;
  }

  int num_heads;
  float scale;
  HostMatrix qkv, y;
  std::vector<double> want;
};

void ExpectAgreement(VisionRun* run) {
  SCOPED_TRACE("rows " + std::to_string(run->qkv.rows()) + ", cols " +
               std::to_string(run->qkv.cols()));
  ASSERT_EQ(run->Run(), cudaSuccess);
  EXPECT_LE(RelativeError(run->want, run->y), MaxError(run->qkv.type()));
}

void ExpectAgreement(const VisionCase& test) {
  VisionRun run(test);
  ExpectAgreement(&run);
}

void ExpectAgreementInAllOrders(const VisionCase& test, int num_seeds = 1) {
  VisionRun run(test);
  emu::ForAllOrders(num_seeds, [&] { ExpectAgreement(&run); });
}

TEST(VisionAttention, AgreesInTwentyRandomOrders) {
  ExpectAgreementInAllOrders({Element::kBF16, 130, 72, 1}, 20);
  ExpectAgreementInAllOrders({Element::kF32, 20, 72, 1}, 20);
}

TEST(VisionAttention, AgreesInBf16) {
  for (const int head_dim : {5, 16, 64, 72, 80, 88, 128, 160}) {
    ExpectAgreement({Element::kBF16, 1, head_dim, 2});
    ExpectAgreementInAllOrders({Element::kBF16, 17, head_dim, 2});
    ExpectAgreement({Element::kBF16, 50, head_dim, 2});
    ExpectAgreement({Element::kBF16, 257, head_dim, 1});
  }
}

TEST(VisionAttention, AgreesInF16) {
  for (const int head_dim : {16, 64, 72, 80, 88, 128}) {
    ExpectAgreementInAllOrders({Element::kF16, 65, head_dim, 1});
  }
  ExpectAgreement({Element::kF16, 257, 88, 1});
  ExpectAgreement({Element::kF16, 20, 5, 2});
}

TEST(VisionAttention, AgreesInF32) {
  for (const int head_dim : {5, 16, 64, 72, 80, 88, 128, 160}) {
    ExpectAgreement({Element::kF32, 1, head_dim, 2});
    ExpectAgreement({Element::kF32, 17, head_dim, 2});
    ExpectAgreement({Element::kF32, 50, head_dim, 1});
  }
  ExpectAgreement({Element::kF32, 257, 64, 1});
  ExpectAgreementInAllOrders({Element::kF32, 257, 5, 1});  // More keys than pass at a time.
  ExpectAgreementInAllOrders({Element::kF32, 3, 1024, 1});
}

TEST(VisionAttention, AgreesOnUnalignedRows) {
  ExpectAgreementInAllOrders({Element::kBF16, 20, 64, 2, /*margin=*/3});
  ExpectAgreement({Element::kF16, 20, 72, 2, /*margin=*/1});
}

TEST(VisionAttention, RejectsWrongShapes) {
  emu::DeviceArray<uint8_t> memory(1 << 16);
  const cuda::DeviceMatrix qkv = {memory.data(), Element::kF16, 4, 3 * 64, 3 * 64};
  const cuda::DeviceMatrix y = {memory.data() + (1 << 15), Element::kF16, 4, 64, 64};
  const auto error = [&](void (*change)(cuda::DeviceMatrix*, cuda::DeviceMatrix*, int*)) {
    cuda::DeviceMatrix in = qkv, out = y;
    int heads = 1;
    change(&in, &out, &heads);
    return cuda::LaunchVisionAttention(in, heads, 1, out, nullptr);
  };
  EXPECT_EQ(error([](auto*, auto*, int*) {}), cudaSuccess);
  EXPECT_EQ(error([](auto* in, auto*, int*) { in->rows = 0; }), cudaSuccess);
  EXPECT_EQ(error([](auto*, auto*, int* heads) { *heads = 0; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto*, auto*, int* heads) { *heads = 5; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto*, auto* out, int*) { out->cols = 32; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto*, auto* out, int*) { out->rows = 3; }), cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto*, auto* out, int*) { out->type = Element::kF32; }),
            cudaErrorInvalidValue);
  EXPECT_EQ(error([](auto* in, auto* out, int*) {
              in->cols = in->stride = 3 * 1025;
              out->cols = out->stride = 1025;
            }),
            cudaErrorInvalidValue);
}

TEST(VisionAttentionBugs, UnmaskedPaddingColumnsAreCaught) {
  EXPECT_TRUE(IsCaught(KernelBug::kTilePaddingUnmasked, [] {
    VisionRun run({Element::kBF16, 30, 72, 2});
    return run.Run() != cudaSuccess ||
           !(RelativeError(run.want, run.y) <= MaxError(Element::kBF16));
  }));
}

}  // namespace
}  // namespace prefixd::cuda_test
