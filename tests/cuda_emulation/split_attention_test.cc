#include "engine/backend/cuda/kernels/split_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/split_attention_case.h"

namespace prefixd::cuda_test {
namespace {

using cuda::SplitKernel;

const std::vector<int32_t> kLengths = {600, 1, 15, 16, 17, 63, 64, 65, 255, 256, 257};
// With padding rows, and not in the order of the sequences.
const std::vector<int32_t> kRows = {kPadding, 10, 9, 8, 0, 1, 2, 3, kPadding, 4, 5, 6, 7, kPadding};
constexpr int kGroups[] = {1, 2, 3, 4, 8, 17};

std::vector<SplitShape> TensorShapes() {
  std::vector<SplitShape> shapes;
  for (const int head_dim : {64, 128, 256}) {
    for (const int group : kGroups) {
      SplitShape shape;
      // Both types meet every head_dim and every group, though not every pair.
      shape.activation = shape.kv =
          (shapes.size() + head_dim / 128) % 2 == 0 ? Element::kBF16 : Element::kF16;
      shape.head_dim = head_dim;
      shape.group_heads = group;
      shape.num_kv_heads = group <= 2 ? 2 : 1;
      shape.lengths = kLengths;
      shapes.push_back(shape);
    }
  }
  return shapes;
}

TEST(SplitAttention, PlainTakesAllTypesAndHeadSizes) {
  int next = 0;
  for (const Element activation : {Element::kF32, Element::kF16, Element::kBF16}) {
    for (const Element kv : {Element::kF32, Element::kF16, Element::kBF16}) {
      for (const int head_dim : {1, 5, 18, 64, 72, 80, 128, 256}) {
        SplitShape shape;
        shape.activation = activation;
        shape.kv = kv;
        shape.head_dim = head_dim;
        shape.group_heads = kGroups[next++ % 5];  // 5 and 8 have no common factor: all pairs.
        shape.num_kv_heads = 1 + next % 2;
        shape.lengths = kLengths;
        SplitRun run{.kernel = SplitKernel::kPlain, .rows = kRows};
        if (activation != kv) {  // For time's sake.
          shape.lengths = {17, 257, 1};
          run.rows = {2, kPadding, 0, 1};
        }
        SplitCase(shape).Check(run);
      }
    }
  }
}

TEST(SplitAttention, PlainTakesManyHeadsAndTheLargestHeadSize) {
  SplitShape shape;
  shape.activation = shape.kv = Element::kF32;
  shape.lengths = {33, 300};
  shape.head_dim = 24;
  shape.group_heads = 17;
  SplitCase(shape).Check({.kernel = SplitKernel::kPlain});
  shape.head_dim = 1024;
  shape.group_heads = 1;
  SplitCase(shape).Check({.kernel = SplitKernel::kPlain});
}

TEST(SplitAttention, VectorMatchesTheReference) {
  for (const SplitShape& shape : TensorShapes()) {
    SplitCase(shape).Check({.kernel = SplitKernel::kVector, .rows = kRows});
  }
}

TEST(SplitAttention, MatrixMatchesTheReference) {
  for (const SplitShape& shape : TensorShapes()) {
    SplitCase(shape).Check({.kernel = SplitKernel::kMatrix, .rows = kRows});
  }
}

TEST(SplitAttention, AllKernelsTakeEveryOrderOfThreads) {
  SplitShape shape;
  shape.head_dim = 64;
  shape.group_heads = 3;
  shape.lengths = {140, 128, 270};
  shape.shared_slots = 128;
  const SplitCase split_case(shape);
  emu::ForAllOrders(20, [&] {
    for (const SplitKernel kernel :
         {SplitKernel::kPlain, SplitKernel::kVector, SplitKernel::kMatrix}) {
      split_case.Check({.kernel = kernel});
    }
    split_case.Check(
        {.kernel = SplitKernel::kMatrix, .rows = {2, 0, 2}, .groups = {{{0, 1, 2}, 128}}});
  });
}

// Scores of some hundreds: without the maxima their powers overflow.
TEST(SplitAttention, TakesLargeScores) {
  SplitShape shape;
  shape.lengths = {257, 31};
  shape.query_factor = 60;
  const SplitCase split_case(shape);
  for (const SplitKernel kernel :
       {SplitKernel::kPlain, SplitKernel::kVector, SplitKernel::kMatrix}) {
    split_case.Check({.kernel = kernel});
  }
}

// The rows of a chunk of a prompt.
TEST(SplitAttention, RowsOfOneSequenceSeeWhatTheySee) {
  SplitShape shape;
  shape.activation = shape.kv = Element::kF16;
  shape.group_heads = 4;
  shape.lengths = {5, 300};
  shape.sequence = {1, 1, 1, 1, 0, 1};
  shape.visible = {253, 254, 256, 257, 5, 300};
  const SplitCase split_case(shape);
  for (const SplitKernel kernel :
       {SplitKernel::kPlain, SplitKernel::kVector, SplitKernel::kMatrix}) {
    split_case.Check({.kernel = kernel});
  }
}

TEST(SplitAttention, DistancesCountInAllKernels) {
  for (const Element type : {Element::kF32, Element::kF16, Element::kBF16}) {
    for (const int head_dim : {64, 128, 256, 20}) {
      SplitShape shape;
      shape.activation = shape.kv = type;
      shape.head_dim = head_dim;
      shape.num_kv_heads = 2;
      shape.group_heads = head_dim == 64 ? 3 : 1;
      shape.lengths = {300, 1, 17, 256};
      shape.alibi = true;
      const SplitCase split_case(shape);
      const std::vector<int32_t> rows = {kPadding, 3, 0, 1, 2};
      split_case.Check({.kernel = SplitKernel::kPlain, .rows = rows});
      if (type == Element::kF32 || head_dim == 20) continue;
      split_case.Check({.kernel = SplitKernel::kVector, .rows = rows});
      split_case.Check({.kernel = SplitKernel::kMatrix, .rows = rows});
    }
  }
}

// Rows of one group have positions of their own.
TEST(SplitAttention, DistancesOfGroups) {
  SplitShape shape;
  shape.num_kv_heads = 2;
  shape.lengths = {310, 272, 273};
  shape.shared_slots = 272;
  shape.alibi = true;
  SplitCase(shape).Check({.kernel = SplitKernel::kMatrix, .groups = {{{0, 1, 2}, 272}}});
}

TEST(SplitAttention, GroupsShareTheirFirstSlots) {
  for (const int group_heads : {1, 4, 17}) {
    for (const int32_t shared : {16, 48, 256, 272, 512}) {
      SplitShape shape;
      shape.head_dim = group_heads == 4 ? 128 : 64;
      shape.group_heads = group_heads;
      shape.lengths = {shared + 40, shared, shared + 1, shared + 300, shared + 16};
      shape.shared_slots = shared;
      const SplitCase split_case(shape);
      // A group of four, one row that shares with nobody, padding, and a group of two.
      split_case.Check({.kernel = SplitKernel::kMatrix,
                        .rows = {kPadding, 0, 3, 1, 4, 2, kPadding, 0},
                        .groups = {{{1, 3, 4, 5}, shared}, {{2, 7}, 16}}});
    }
  }
}

// More (row, head) pairs than one block takes.
TEST(SplitAttention, LargeGroupsTakeSeveralBlocks) {
  for (const int group_heads : {3, 70}) {
    SplitShape shape;
    shape.group_heads = group_heads;
    shape.lengths = {70, 64};
    shape.shared_slots = 64;
    SplitRun run{.kernel = SplitKernel::kMatrix};
    run.groups = {{{}, 64}};
    for (int i = 0; i < (group_heads == 3 ? 50 : 3); ++i) {
      run.rows.push_back(i % 2);
      run.groups[0].positions.push_back(i);
    }
    SplitCase(shape).Check(run);
  }
}

TEST(SplitAttention, ARowsBitsDependOnNothingElse) {
  SplitShape shape;
  shape.head_dim = 128;
  shape.group_heads = 4;
  shape.lengths = {600, 530, 512, 700, 515};
  shape.shared_slots = 512;
  const SplitCase split_case(shape);
  for (const SplitKernel kernel :
       {SplitKernel::kPlain, SplitKernel::kVector, SplitKernel::kMatrix}) {
    const SplitOutput all = split_case.Run({.kernel = kernel});
    const std::vector<int32_t> shuffled = {kPadding, 4, 2, 0, 3, kPadding, 1, 4};
    // Batch mates and places; a bucket's larger bound; groups of one and of two splits.
    for (const SplitRun& run : std::vector<SplitRun>{
             {.kernel = kernel, .rows = shuffled},
             {.kernel = kernel, .rows = shuffled, .max_visible = 2000},
             {.kernel = kernel, .rows = shuffled, .groups = {{{1, 2, 3, 4, 6, 7}, 256}}},
             {.kernel = kernel, .rows = shuffled, .groups = {{{1, 2, 4}, 512}, {{3, 6}, 256}}}}) {
      const SplitOutput output = split_case.Run(run);
      ASSERT_EQ(output.error, cudaSuccess);
      for (size_t i = 0; i < shuffled.size(); ++i) {
        if (shuffled[i] == kPadding) continue;
        EXPECT_TRUE(SameRow(output, i, all, shuffled[i])) << "place " << i;
      }
    }
    for (int32_t row = 0; row < 5; ++row) {
      const SplitOutput alone = split_case.Run({.kernel = kernel, .rows = {row}});
      EXPECT_TRUE(SameRow(alone, 0, all, row)) << "row " << row;
    }
  }
}

TEST(SplitAttention, AutoTakesTheKernelOfTheShape) {
  SplitShape shape;
  shape.lengths = {100, 40};
  shape.shared_slots = 32;
  const std::vector<RowGroup> groups = {{{0, 1}, 32}};
  const auto same = [&](const SplitShape& shape, SplitRun run, SplitKernel kernel) {
    const SplitCase split_case(shape);
    run.kernel = SplitKernel::kAuto;
    const SplitOutput automatic = split_case.Run(run);
    split_case.ExpectClose(run, automatic);
    run.kernel = kernel;
    const SplitOutput named = split_case.Run(run);
    return SameRow(automatic, 0, named, 0) && SameRow(automatic, 1, named, 1);
  };
  EXPECT_TRUE(same(shape, {}, SplitKernel::kVector));
  EXPECT_FALSE(same(shape, {}, SplitKernel::kMatrix));
  EXPECT_TRUE(same(shape, {.groups = groups}, SplitKernel::kMatrix));
  shape.group_heads = 4;
  EXPECT_TRUE(same(shape, {}, SplitKernel::kMatrix));
  shape.head_dim = 80;
  EXPECT_TRUE(same(shape, {.groups = groups}, SplitKernel::kPlain));
}

TEST(SplitAttention, UnalignedDataFallsToPlain) {
  SplitShape shape;
  shape.lengths = {100, 40};
  const SplitCase split_case(shape);
  for (SplitRun run : std::vector<SplitRun>{{.first_column = 3}, {.page_shift = 1}}) {
    split_case.Check(run);
    for (const SplitKernel kernel : {SplitKernel::kVector, SplitKernel::kMatrix}) {
      run.kernel = kernel;
      EXPECT_EQ(split_case.Run(run).error, cudaErrorInvalidValue);
    }
  }
}

TEST(SplitAttention, OnlyPlainTakesEveryShape) {
  cuda::KvPages pages;
  pages.type = Element::kBF16;
  for (const int head_dim : {64, 128, 256}) {
    pages.head_dim = head_dim;
    EXPECT_TRUE(cuda::SplitKernelTakes(SplitKernel::kMatrix, Element::kBF16, pages));
    EXPECT_TRUE(cuda::SplitKernelTakes(SplitKernel::kVector, Element::kBF16, pages));
    EXPECT_FALSE(cuda::SplitKernelTakes(SplitKernel::kMatrix, Element::kF16, pages));
    EXPECT_FALSE(cuda::SplitKernelTakes(SplitKernel::kVector, Element::kF32, pages));
  }
  pages.head_dim = 80;
  EXPECT_FALSE(cuda::SplitKernelTakes(SplitKernel::kMatrix, Element::kBF16, pages));
  EXPECT_FALSE(cuda::SplitKernelTakes(SplitKernel::kVector, Element::kBF16, pages));
  EXPECT_TRUE(cuda::SplitKernelTakes(SplitKernel::kPlain, Element::kF32, pages));
  EXPECT_TRUE(cuda::SplitKernelTakes(SplitKernel::kAuto, Element::kF32, pages));

  SplitShape shape;
  shape.lengths = {20};
  shape.head_dim = 80;
  for (const SplitKernel kernel : {SplitKernel::kVector, SplitKernel::kMatrix}) {
    EXPECT_EQ(SplitCase(shape).Run({.kernel = kernel}).error, cudaErrorInvalidValue);
  }
}

TEST(SplitAttention, RefusesWhatTheHostMustNotAsk) {
  emu::DeviceArray<uint8_t> pages(2 * 16 * 64 * 2), q(64 * 2), y(64 * 2);
  emu::DeviceArray<int32_t> zeros(std::vector<int32_t>{0});
  emu::DeviceArray<uint8_t> scratch(cuda::SplitScratchBytes(1, 1, 64, 16) + 1);
  const cuda::DeviceMatrix q_view{q.data(), Element::kBF16, 1, 64, 64};
  cuda::SplitAttention good;
  good.q = &q_view;
  good.pages = {pages.data(), Element::kBF16, 1, 1, 64};
  good.num_heads = 1;
  good.scale = 1;
  good.rows = {1, zeros.data(), zeros.data(), zeros.data(), 1, 16};
  good.y = {y.data(), Element::kBF16, 1, 64, 64};
  good.scratch = scratch.data();
  EXPECT_EQ(cuda::LaunchSplitAttention(good, nullptr), cudaSuccess);

  const auto refused = [&](auto change) {
    cuda::SplitAttention call = good;
    change(call);
    return cuda::LaunchSplitAttention(call, nullptr) == cudaErrorInvalidValue;
  };
  using Call = cuda::SplitAttention;
  EXPECT_TRUE(refused([](Call& call) { call.q = nullptr; }));
  EXPECT_TRUE(refused([](Call& call) { call.num_heads = 2; }));  // q is too narrow.
  EXPECT_TRUE(refused([](Call& call) { call.num_heads = 0; }));
  EXPECT_TRUE(refused([](Call& call) { call.pages.num_kv_heads = 2; }));
  EXPECT_TRUE(refused([](Call& call) { call.pages.head_dim = 0; }));
  EXPECT_TRUE(refused([](Call& call) { call.pages.head_dim = 1025; }));
  EXPECT_TRUE(refused([](Call& call) { call.pages.data = nullptr; }));
  EXPECT_TRUE(refused([](Call& call) { call.rows.num_rows = 2; }));
  EXPECT_TRUE(refused([](Call& call) { call.rows.max_visible = -1; }));
  EXPECT_TRUE(refused([](Call& call) { call.rows.max_visible = 65535 * 256; }));
  EXPECT_TRUE(refused([](Call& call) { call.rows.visible = nullptr; }));
  EXPECT_TRUE(
      refused([](Call& call) { call.slopes = call.lse = static_cast<float*>(call.scratch); }));
  EXPECT_TRUE(refused([](Call& call) { call.y.type = Element::kF16; }));
  EXPECT_TRUE(refused([](Call& call) { call.y.cols = 63; }));
  EXPECT_TRUE(refused([&](Call& call) { call.scratch = scratch.data() + 1; }));
  EXPECT_TRUE(refused([&](Call& call) { call.groups.shared = zeros.data(); }));
  const cuda::SplitAttention nothing = [&] {
    cuda::SplitAttention call = good;
    call.rows = {};
    return call;
  }();
  EXPECT_EQ(cuda::LaunchSplitAttention(nothing, nullptr), cudaSuccess);
}

TEST(SplitAttention, RowsThatSeeNothingAreZero) {
  SplitShape shape;
  shape.lengths = {20};
  SplitCase(shape).Check({.rows = {kPadding, kPadding}});
}

TEST(SplitAttention, ScratchHoldsOneStateMoreThanSplits) {
  // (2 splits + 1) * 3 rows * 4 heads: 8 bytes and 5 floats each, the first part in whole 16s.
  EXPECT_EQ(cuda::SplitScratchBytes(3, 4, 5, 257), 36 * 8 + 36 * 5 * 4);
  EXPECT_EQ(cuda::SplitScratchBytes(1, 1, 1, 0), 16 + 4);
  EXPECT_GT(cuda::SplitScratchBytes(64, 128, 256, 1 << 20), size_t{1} << 32);
}

// Pages whose first element has a number beyond 32 bits.
TEST(SplitAttention, ReadsPagesFarIntoThePool) {
  SplitShape shape;
  shape.lengths = {70, 20};
  const SplitCase split_case(shape);
  const int64_t page_elements = 2 * 16 * 64;
  for (const int64_t elements : {int64_t{1} << 31, int64_t{1} << 32}) {
    for (const SplitKernel kernel :
         {SplitKernel::kPlain, SplitKernel::kVector, SplitKernel::kMatrix}) {
      split_case.Check({.kernel = kernel, .first_page = elements / page_elements});
    }
  }
}

}  // namespace
}  // namespace prefixd::cuda_test
