// CrossAttention: ragged segments over ragged keys, beside rows that attend to nothing.
#include <algorithm>
#include <cmath>

#include "tests/backend/attention_in_double.h"
#include "tests/backend/op_harness.h"

namespace prefixd {
namespace {

using CrossAttentionTest = OpTest;
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(CrossAttentionTest);

struct Image {
  int32_t row_begin = 0;
  int32_t num_rows = 0;
  const HostMatrix* kv = nullptr;  // [keys, 2 * width].
};

float ScaleOf(const HostMatrix& q, int num_heads) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(q.cols / num_heads)));
}

// The output starts as NaN. Equal pointers become one tensor.
HostMatrix RunCross(Backend* backend, const HostMatrix& q, int num_heads,
                    const std::vector<Image>& images) {
  const GuardedTensor in = GuardedTensor::Input(backend, q);
  std::vector<GuardedTensor> kv;
  std::vector<CrossSegment> segments;
  for (size_t i = 0; i < images.size(); ++i) {
    size_t same = 0;
    while (images[same].kv != images[i].kv) ++same;
    kv.push_back(GuardedTensor::Input(backend, *images[i].kv));
    segments.push_back({images[i].row_begin, images[i].num_rows, kv[same].view()});
  }
  return RunOp(backend, q.rows, q.cols, [&](const Tensor& y) {
    return backend->CrossAttention(in.view(), num_heads, ScaleOf(q, num_heads), segments, y);
  });
}

HostMatrix CrossInDouble(const HostMatrix& q, int num_heads, const std::vector<Image>& images) {
  const AttentionShape shape = {.num_heads = num_heads,
                                .num_kv_heads = num_heads,
                                .head_dim = static_cast<int>(q.cols / num_heads)};
  HostMatrix y(q.rows, q.cols);
  for (const Image& image : images) {
    SeenSlots seen;
    for (int64_t key = 0; key < image.kv->rows; ++key) seen.kv.push_back(image.kv->row(key));
    for (int32_t t = image.row_begin; t < image.row_begin + image.num_rows; ++t) {
      AttendInDouble(shape, q.row(t), seen, y.row(t), nullptr);
    }
  }
  return y;
}

TEST_P(CrossAttentionTest, AgreesWithDoubles) {
  RandomValues random(80);
  for (const auto& [num_heads, head_dim] : GetParam().Cases(std::vector<std::pair<int, int>>{
           {1, 1}, {3, 5}, {8, 64}, {2, 72}, {2, 80}, {1, 128}, {2, 17}})) {
    for (const int32_t keys : GetParam().Sizes({1, 3, 16, 17, 64, 100, 255, 256, 257, 577, 1030})) {
      for (const int32_t rows : {1, 5, 70}) {
        if (rows > 5 && (keys > 300 || GetParam().slow)) continue;
        SCOPED_TRACE(::testing::Message() << num_heads << " heads of " << head_dim << ", " << keys
                                          << " keys, " << rows << " rows");
        const int64_t width = int64_t{num_heads} * head_dim;
        const HostMatrix q = Stored(random.Matrix(rows, width));
        const HostMatrix kv = Stored(random.Matrix(keys, 2 * width));
        const std::vector<Image> images = {{0, rows, &kv}};
        ExpectNear(RunCross(backend_.get(), q, num_heads, images),
                   CrossInDouble(q, num_heads, images), 3e-6, RelativeTo::kMatrix);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(CrossAttentionTest, TakesManyKeys) {
  RandomValues random(81);
  const int32_t keys = GetParam().Many(4096, 300);
  const HostMatrix q = Stored(random.Matrix(2, 6));
  const HostMatrix kv = Stored(random.Matrix(keys, 12));
  const std::vector<Image> images = {{0, 2, &kv}};
  ExpectNear(RunCross(backend_.get(), q, 2, images), CrossInDouble(q, 2, images), 3e-6,
             RelativeTo::kMatrix);
}

// Images of several sizes, twice the same one, an empty segment, and rows between and around.
struct Album {
  explicit Album(uint32_t seed, int64_t width) {
    RandomValues random(seed);
    for (const int64_t keys : {64, 3, 300, 17}) kv.push_back(random.Matrix(keys, 2 * width));
    q = random.Matrix(60, width);
    images = {{2, 10, &kv[0]},  {12, 7, &kv[0]}, {19, 0, &kv[1]}, {22, 1, &kv[1]},
              {23, 20, &kv[2]}, {45, 3, &kv[0]}, {48, 5, &kv[3]}};
  }
  std::vector<HostMatrix> kv;
  HostMatrix q;
  std::vector<Image> images;
};

TEST_P(CrossAttentionTest, RowsOfNoSegmentAreZero) {
  Album album(82, 3 * 20);
  album.q = Stored(album.q);
  for (HostMatrix& kv : album.kv) kv = Stored(kv);
  const HostMatrix y = RunCross(backend_.get(), album.q, 3, album.images);
  ExpectNear(y, CrossInDouble(album.q, 3, album.images), 3e-6, RelativeTo::kMatrix);
  for (const int64_t t : {0, 1, 19, 20, 21, 43, 44, 53, 59}) {
    for (int64_t c = 0; c < y.cols; ++c) ASSERT_EQ(y.row(t)[c], 0.0f) << t;
  }
  const HostMatrix none = RunCross(backend_.get(), album.q, 3, {});
  for (const float value : none.values) ASSERT_EQ(value, 0.0f);
}

TEST_P(CrossAttentionTest, ARowsBitsDoNotDependOnTheOthers) {
  PREFIXD_NEEDS_EXACT_ROWS();
  for (const int head_dim : {20, 64}) {
    const Album album(83, 3 * head_dim);
    const HostMatrix together = RunCross(backend_.get(), album.q, 3, album.images);
    for (const Image& image : album.images) {
      for (int32_t t = image.row_begin; t < image.row_begin + image.num_rows; ++t) {
        const HostMatrix alone =
            RunCross(backend_.get(), album.q.Rows(t, 1), 3, {{0, 1, image.kv}});
        ExpectSameBits(together.Rows(t, 1), alone);
        ASSERT_FALSE(HasFailure()) << "row " << t;
      }
    }
    for (const int threads : GetParam().Threads({2, 3})) {
      const auto backend = GetParam().Create(threads);
      const Album larger(84, 3 * 90);  // What is left of it in scratch does not matter.
      RunCross(backend.get(), larger.q, 3, larger.images);
      ExpectSameBits(RunCross(backend.get(), album.q, 3, album.images), together);
    }
  }
}

TEST_P(CrossAttentionTest, KeysAndValuesMayBeColumnsOfAWiderMatrix) {
  RandomValues random(85);
  const HostMatrix q = random.Matrix(5, 8);
  const HostMatrix wide = random.Matrix(20, 48);  // Three layers' K and V.
  const GuardedTensor in = GuardedTensor::Input(backend_.get(), q);
  const GuardedTensor all = GuardedTensor::Input(backend_.get(), wide);
  for (int layer = 0; layer < 3; ++layer) {
    HostMatrix kv(20, 16);
    for (int64_t t = 0; t < 20; ++t) std::copy_n(wide.row(t) + 16 * layer, 16, kv.row(t));
    const CrossSegment segment = {0, 5, all.view().Cols(16 * layer, 16)};
    const HostMatrix y = RunOp(backend_.get(), 5, 8, [&](const Tensor& out) {
      return backend_->CrossAttention(in.view(), 2, 0.5f, absl::MakeConstSpan(&segment, 1), out);
    });
    ExpectSameBits(y, RunCross(backend_.get(), q, 2, {{0, 5, &kv}}));
  }
}

// Views that begin at one place and end at others.
TEST_P(CrossAttentionTest, NeighboursMaySeeDifferentNumbersOfTheSameKeys) {
  RandomValues random(86);
  const HostMatrix q = Stored(random.Matrix(9, 8));
  const HostMatrix kv = Stored(random.Matrix(40, 16));
  const GuardedTensor in = GuardedTensor::Input(backend_.get(), q);
  const GuardedTensor all = GuardedTensor::Input(backend_.get(), kv);
  const std::vector<int32_t> keys = {7, 40, 33};
  std::vector<CrossSegment> segments;
  std::vector<HostMatrix> seen;
  std::vector<Image> images;
  for (int32_t i = 0; i < 3; ++i) {
    segments.push_back({3 * i, 3, all.view().Rows(0, keys[i])});
    seen.push_back(kv.Rows(0, keys[i]));
  }
  for (int32_t i = 0; i < 3; ++i) images.push_back({3 * i, 3, &seen[i]});
  const HostMatrix y = RunOp(backend_.get(), 9, 8, [&](const Tensor& out) {
    return backend_->CrossAttention(in.view(), 2, ScaleOf(q, 2), segments, out);
  });
  ExpectNear(y, CrossInDouble(q, 2, images), 3e-6, RelativeTo::kMatrix);
}

// Shapes that do not fit are bugs of the caller.
TEST_P(CrossAttentionTest, ChecksItsShapes) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const GuardedTensor q = GuardedTensor::Input(backend_.get(), HostMatrix(6, 8));
  const GuardedTensor kv = GuardedTensor::Input(backend_.get(), HostMatrix(5, 16));
  const GuardedTensor y = GuardedTensor::Output(backend_.get(), HostMatrix(6, 8));
  const auto run = [&](std::vector<CrossSegment> segments) {
    return backend_->CrossAttention(q.view(), 2, 1, segments, y.view());
  };
  EXPECT_TRUE(run({{0, 3, kv.view()}, {3, 3, kv.view()}}).ok());
  EXPECT_DEATH((void)run({{0, 3, kv.view()}, {2, 3, kv.view()}}), "");
  EXPECT_DEATH((void)run({{4, 3, kv.view()}}), "");
  EXPECT_DEATH((void)run({{0, 3, kv.view().Rows(0, 0)}}), "");
  EXPECT_DEATH((void)run({{0, 3, kv.view().Cols(0, 8)}}), "");
}

TEST_P(CrossAttentionTest, ByHand) {
  // q . k0 = 0 and q . k1 = ln 3, so the weights are 1/4 and 3/4.
  HostMatrix q(1, 1), kv(2, 2);
  q.values = {1};
  kv.values = {0, 4, std::log(3.0f), 8};
  ExpectNearValue(RunCross(backend_.get(), q, 1, {{0, 1, &kv}}).values[0], 7.0f, 2e-6);
}

}  // namespace
}  // namespace prefixd
