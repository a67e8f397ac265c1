// Split attention of rows of trees: slots behind the context are found through the row's path.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/emulator/testing.h"
#include "tests/cuda_emulation/split_attention_case.h"

namespace prefixd::cuda_test {
namespace {

using cuda::SplitKernel;

constexpr SplitKernel kTreeKernels[] = {SplitKernel::kPlain, SplitKernel::kMatrix};

// A path of `size` of the `behind` slots behind the context, in any order.
std::vector<int32_t> RandomPath(int32_t context, int32_t behind, int32_t size,
                                std::mt19937* random) {
  std::vector<int32_t> slots(behind);
  std::iota(slots.begin(), slots.end(), context);
  std::shuffle(slots.begin(), slots.end(), *random);
  slots.resize(size);
  return slots;
}

// `num_rows` rows behind each of the contexts, with paths of 1 to max_path slots.
SplitShape TreesOf(SplitShape shape, const std::vector<int32_t>& contexts, int num_rows,
                   int32_t max_path, uint32_t seed) {
  std::mt19937 random(seed);
  for (const int32_t context : contexts) {
    const int32_t behind = max_path + 20;
    for (int row = 0; row < num_rows; ++row) {
      const int32_t size = 1 + static_cast<int32_t>(random() % max_path);
      shape.sequence.push_back(static_cast<int32_t>(shape.lengths.size()));
      shape.visible.push_back(context + size);
      shape.paths.push_back(RandomPath(context, behind, size, &random));
    }
    shape.lengths.push_back(context + behind);
  }
  return shape;
}

const std::vector<int32_t> kContexts = {1, 15, 16, 17, 250, 255, 256, 257, 500};

TEST(SplitTree, PlainMatchesTheReference) {
  uint32_t seed = 0;
  for (const Element type : {Element::kF32, Element::kF16, Element::kBF16}) {
    for (const int head_dim : {5, 64, 80}) {
      SplitShape shape;
      shape.activation = shape.kv = type;
      shape.head_dim = head_dim;
      shape.num_kv_heads = 2;
      shape.group_heads = head_dim == 5 ? 3 : 1;
      shape.alibi = head_dim == 80;
      SplitCase(TreesOf(shape, kContexts, 2, 12, ++seed)).Check({.kernel = SplitKernel::kPlain});
    }
  }
}

TEST(SplitTree, MatrixMatchesTheReference) {
  uint32_t seed = 20;
  for (const int head_dim : {64, 128, 256}) {
    for (const bool alibi : {false, true}) {
      SplitShape shape;
      shape.activation = shape.kv = alibi == (head_dim == 128) ? Element::kF16 : Element::kBF16;
      shape.head_dim = head_dim;
      shape.num_kv_heads = alibi ? 2 : 1;
      shape.group_heads = alibi ? 1 : head_dim == 64 ? 17 : 4;
      shape.alibi = alibi;
      SplitCase(TreesOf(shape, kContexts, 2, 12, ++seed)).Check({.kernel = SplitKernel::kMatrix});
    }
  }
}

// Where a path is longer than a split.
TEST(SplitTree, LongPaths) {
  for (const SplitKernel kernel : kTreeKernels) {
    SplitCase(TreesOf({}, {3, 250}, 2, 600, 30)).Check({.kernel = kernel});
  }
}

// Their context is read once; what is left of it and the paths row by row. With padding, a row of
// another tree between them and more rows than one block takes.
TEST(SplitTree, GroupsShareTheContext) {
  for (const int32_t context : {40, 256, 530}) {
    for (const bool alibi : {false, true}) {
      SplitShape shape;
      shape.head_dim = context == 40 ? 128 : 64;
      shape.alibi = alibi;
      shape.group_heads = alibi ? 1 : 2;
      const SplitCase split_case(TreesOf(shape, {context, 21}, 40, 9, 40));
      SplitRun run{.kernel = SplitKernel::kMatrix, .rows = {kPadding, 41}};
      run.groups = {{{}, context / 16 * 16}};
      for (int32_t row = 0; row < 40; ++row) {
        run.groups[0].positions.push_back(static_cast<int32_t>(run.rows.size()));
        run.rows.push_back(row);
      }
      split_case.Check(run);
    }
  }
}

// A path that goes on where the context ends is a sequence, and no mate shows.
TEST(SplitTree, HasTheBitsOfASequence) {
  SplitShape plain;
  plain.group_heads = 2;
  plain.lengths = {600};
  plain.sequence = {0, 0, 0, 0, 0};
  plain.visible = {257, 300, 513, 520, 600};
  SplitShape tree = plain;
  for (const int32_t visible : plain.visible) {
    std::vector<int32_t>& path = tree.paths.emplace_back(visible - 256);
    std::iota(path.begin(), path.end(), 256);
  }
  const SplitCase plain_case(plain), tree_case(tree);
  for (const SplitKernel kernel : kTreeKernels) {
    const SplitOutput expected = plain_case.Run({.kernel = kernel});
    for (const SplitRun& run : std::vector<SplitRun>{
             {.kernel = kernel},
             {.kernel = kernel, .rows = {4, kPadding, 2, 0, 1, 3}},
             {.kernel = kernel, .rows = {3, 1, 0}, .max_visible = 2000},
             {.kernel = kernel, .rows = {3, 1, 0}, .groups = {{{0, 1, 2}, 256}}}}) {
      const SplitOutput output = tree_case.Run(run);
      ASSERT_EQ(output.error, cudaSuccess);
      for (size_t i = 0; i < (run.rows.empty() ? 5 : run.rows.size()); ++i) {
        const int32_t row = run.rows.empty() ? static_cast<int32_t>(i) : run.rows[i];
        if (row == kPadding) continue;
        EXPECT_TRUE(SameRow(output, i, expected, row)) << "place " << i;
      }
    }
  }
}

TEST(SplitTree, TakesEveryOrderOfThreads) {
  SplitShape shape;
  shape.alibi = true;
  const SplitCase split_case(TreesOf(shape, {130}, 3, 9, 50));
  emu::ForAllOrders(20, [&] {
    for (const SplitKernel kernel : kTreeKernels) {
      split_case.Check({.kernel = kernel, .groups = {{{0, 1, 2}, 128}}});
    }
  });
}

TEST(SplitTree, AutoTakesTheMatrixKernelOrPlain) {
  SplitShape shape;
  const SplitCase matrix(TreesOf(shape, {70}, 2, 5, 60));
  EXPECT_TRUE(SameRow(matrix.Run({}), 1, matrix.Run({.kernel = SplitKernel::kMatrix}), 1));
  EXPECT_FALSE(SameRow(matrix.Run({}), 1, matrix.Run({.kernel = SplitKernel::kPlain}), 1));
  EXPECT_EQ(matrix.Run({.kernel = SplitKernel::kVector}).error, cudaErrorInvalidValue);
  shape.head_dim = 72;
  SplitCase(TreesOf(shape, {70}, 2, 5, 60)).Check({});
}

TEST(SplitTree, RefusesHalfATree) {
  emu::DeviceArray<uint8_t> pages(2 * 16 * 64 * 2), q(64 * 2), y(64 * 2);
  emu::DeviceArray<int32_t> zeros(std::vector<int32_t>{0});
  emu::DeviceArray<uint8_t> scratch(cuda::SplitScratchBytes(1, 1, 64, 16));
  const cuda::DeviceMatrix q_view{q.data(), Element::kBF16, 1, 64, 64};
  cuda::SplitAttention call;
  call.q = &q_view;
  call.pages = {pages.data(), Element::kBF16, 1, 1, 64};
  call.num_heads = 1;
  call.rows = {1, zeros.data(), zeros.data(), zeros.data(), 1, 16};
  call.rows.context = call.rows.path_begin = call.rows.paths = zeros.data();
  call.y = {y.data(), Element::kBF16, 1, 64, 64};
  call.scratch = scratch.data();
  EXPECT_EQ(cuda::LaunchSplitAttention(call, nullptr), cudaSuccess);
  call.rows.path_begin = nullptr;
  EXPECT_EQ(cuda::LaunchSplitAttention(call, nullptr), cudaErrorInvalidValue);
  call.rows.path_begin = zeros.data();
  call.rows.paths = nullptr;
  EXPECT_EQ(cuda::LaunchSplitAttention(call, nullptr), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace prefixd::cuda_test
