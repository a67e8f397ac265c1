// WriteKv and PagedAttention of segments that are trees: every row against loops in double, and bit
// for bit against a row of a plain sequence, whatever else is in the call and however it is cut.
#include <algorithm>
#include <string>

#include "tests/backend/tree_kv.h"

namespace prefixd {
namespace {

constexpr int32_t kFirstPosition = 1000;

class TreeAttentionTest : public OpTest {
 protected:
  // All nodes in one call, against doubles and, where rows are exact, against plain sequences.
  void CheckTree(const AttentionShape& shape, const TreeShape& tree, RandomValues* random) {
    const HostMatrix qkv = Stored(RandomQkv(random, shape, tree.context + tree.size()));
    TreeKv kv(backend_.get(), shape, tree, qkv, kFirstPosition, random);
    const HostMatrix y = kv.AttendNodes(tree.size(), tree.size());
    ExpectNear(y, NodesInDouble(shape, tree, qkv), 5e-6);
    if (GetParam().exact) {
      ExpectSameBits(y, NodesAsSequences(backend_.get(), shape, tree, qkv, kFirstPosition));
    }
  }
};
PREFIXD_INSTANTIATE_FOR_ALL_BACKENDS(TreeAttentionTest);

std::string Describe(const AttentionShape& shape, const TreeShape& tree) {
  return ::testing::PrintToString(shape.num_heads) + " heads, " +
         ::testing::PrintToString(shape.num_kv_heads) + " kv heads of " +
         ::testing::PrintToString(shape.head_dim) + ", " + std::string(DTypeName(shape.kv_dtype)) +
         (shape.alibi ? ", ALiBi" : "") + ", " + ::testing::PrintToString(tree.size()) +
         " nodes behind " + ::testing::PrintToString(tree.context) + " slots";
}

std::vector<AttentionShape> Shapes() {
  return {{.num_heads = 9, .num_kv_heads = 3, .head_dim = 64},
          {.num_heads = 4, .num_kv_heads = 2, .head_dim = 20, .alibi = true},
          {.num_heads = 6, .num_kv_heads = 1, .head_dim = 5},
          {.num_heads = 3, .num_kv_heads = 3, .head_dim = 17, .alibi = true},
          {.num_heads = 17, .num_kv_heads = 1, .head_dim = 18}};
}

TEST_P(TreeAttentionTest, EveryRowIsTheLastOfASequenceOfItsOwn) {
  RandomValues random(200);
  for (const AttentionShape& base : GetParam().Cases(Shapes())) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const int32_t context :
           GetParam().Sizes({1, 15, 16, 17, 100, 250, 255, 256, 257, 640})) {
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        // Paths over the borders of pages and blocks.
        const TreeShape tree =
            RandomTree(&random, context, GetParam().Many(40, 12), 1 + context % 5 * 4);
        SCOPED_TRACE(Describe(shape, tree));
        CheckTree(shape, tree, &random);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(TreeAttentionTest, PathsAreOfAnyLength) {
  RandomValues random(201);
  for (const AttentionShape& base : std::vector<AttentionShape>{
           {.num_heads = 4, .num_kv_heads = 2, .head_dim = 12},
           {.num_heads = 2, .num_kv_heads = 1, .head_dim = 9, .alibi = true}}) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const auto& [context, nodes] : GetParam().Cases(std::vector<std::pair<int32_t, int32_t>>{
               {1, 20}, {3, 300}, {16, 33}, {250, 40}, {240, 290}, {512, 16}})) {
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        const TreeShape tree = Chain(context, nodes);
        SCOPED_TRACE(Describe(shape, tree));
        CheckTree(shape, tree, &random);
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(TreeAttentionTest, NeitherCutsNorThreadsShow) {
  PREFIXD_NEEDS_EXACT_ROWS();
  std::vector<std::unique_ptr<Backend>> backends;
  for (const int threads : GetParam().Threads({1, 2, 3})) {
    backends.push_back(GetParam().Create(threads));
  }
  for (const AttentionShape& base : GetParam().Cases(Shapes())) {
    for (const DType dtype : GetParam().kv_dtypes) {
      for (const int32_t context : GetParam().Sizes({7, 48, 250, 640})) {
        AttentionShape shape = base;
        shape.kv_dtype = dtype;
        RandomValues random(202);
        // Several tiles of a kv head.
        const int32_t nodes = backend_->info().name == "ref" ? 20 : GetParam().Many(150, 20);
        const TreeShape tree = RandomTree(&random, context, nodes, 6);
        SCOPED_TRACE(Describe(shape, tree));
        const HostMatrix qkv = Stored(RandomQkv(&random, shape, context + tree.size()));
        HostMatrix expected;
        for (const auto& backend : backends) {
          TreeKv kv(backend.get(), shape, tree, qkv, kFirstPosition, &random);
          const HostMatrix y = kv.AttendNodes(tree.size(), tree.size());
          if (expected.rows == 0) expected = y;
          ExpectSameBits(y, expected);
          for (const auto& [call, segment] : {std::pair<int32_t, int32_t>{tree.size(), 1},
                                              {tree.size(), 13},
                                              {1, 1},
                                              {7, 7},
                                              {33, 4}}) {
            ExpectSameBits(kv.AttendNodes(call, segment), expected);
            if (HasFailure()) {
              FAIL() << call << " rows a call, " << segment << " a segment, "
                     << backend->info().num_threads << " threads";
            }
          }
        }
      }
    }
  }
}

// A prefill and decodes on the pages of the context, one of them with sums, between trees.
TEST_P(TreeAttentionTest, SegmentsOfOtherKindsDoNotMindEachOther) {
  constexpr int32_t kPrefill = 21;  // Rows behind the context's whole pages.
  for (const AttentionShape& base : GetParam().Cases(Shapes())) {
    for (const int32_t context : GetParam().Sizes({33, 272, 500})) {
      if (GetParam().slow && (context > 256) != (base.head_dim == 64)) continue;
      for (const int threads : GetParam().Threads({1, 3})) {
        const auto backend = GetParam().Create(threads);
        const AttentionShape& shape = base;
        RandomValues random(203);
        const TreeShape tree = RandomTree(&random, context, 24, 5);
        SCOPED_TRACE(Describe(shape, tree));
        const HostMatrix qkv = Stored(RandomQkv(&random, shape, context + tree.size()));
        TreeKv kv(backend.get(), shape, tree, qkv, kFirstPosition, &random);
        // Another sequence: the context's whole pages, then pages of its own.
        const int32_t shared = context / kPageSlots;
        std::vector<int32_t> pages(kv.pages().begin(), kv.pages().begin() + shared);
        pages.insert(pages.end(), kv.spare_pages().begin(), kv.spare_pages().end());
        std::vector<int32_t> slots;
        for (int32_t i = 0; i < kPrefill; ++i) slots.push_back(shared * kPageSlots + i);
        const GuardedTensor sums = GuardedTensor::Output(
            backend.get(), HostMatrix(1, slots.back() + 1), TensorUse::kScores);
        const KvSegment prefill = {.num_rows = kPrefill,
                                   .pages = pages,
                                   .write_slots = slots,
                                   .first_visible = slots[0] + 1,
                                   .first_position = kFirstPosition + slots[0]};
        KvSegment summed = prefill;
        summed.sums = &sums.view();
        summed.first_summed_row = 3;
        KvSegment context_end = {.num_rows = 1,
                                 .pages = kv.pages(),
                                 .write_slots = absl::MakeConstSpan(slots).first(1),
                                 .first_visible = context,
                                 .first_position = kFirstPosition + context - 1};
        const HostMatrix other = Stored(RandomQkv(&random, shape, kPrefill));
        const GuardedTensor written = GuardedTensor::Output(backend.get(), other);
        ASSERT_TRUE(backend
                        ->WriteKv(written.view(), nullptr, shape.num_heads,
                                  absl::MakeConstSpan(&prefill, 1), kv.pool())
                        .ok());
        std::vector<KvSegment> segments = {kv.Segment(0, 9, 0),  summed,
                                           kv.Segment(9, 14, 0), prefill,
                                           context_end,          kv.Segment(23, 1, 0)};
        HostMatrix batch(0, shape.qkv_cols());
        for (KvSegment& segment : segments) {
          segment.row_begin = static_cast<int32_t>(batch.rows);
          const HostMatrix rows = random.Matrix(segment.num_rows, shape.qkv_cols());
          batch.values.insert(batch.values.end(), rows.values.begin(), rows.values.end());
          batch.rows += rows.rows;
        }
        const HostMatrix together = kv.Attend(Stored(batch), segments);
        const HostMatrix sums_together = sums.Read();
        ASSERT_TRUE(backend->Upload(HostMatrix(1, slots.back() + 1).values, sums.view()).ok());
        for (KvSegment segment : segments) {
          const int32_t row = segment.row_begin;
          segment.row_begin = 0;
          const HostMatrix alone = kv.Attend(Stored(batch.Rows(row, segment.num_rows)),
                                             absl::MakeConstSpan(&segment, 1));
          if (GetParam().exact) {
            ExpectSameBits(together.Rows(row, segment.num_rows), alone);
          } else {
            ExpectNear(together.Rows(row, segment.num_rows), alone, 5e-6);
          }
          if (HasFailure()) FAIL() << "row " << row << ", " << threads << " threads";
        }
        if (GetParam().exact) ExpectSameBits(sums.Read(), sums_together);
      }
    }
  }
}

TEST_P(TreeAttentionTest, ChecksItsPaths) {
  const AttentionShape shape = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 4};
  RandomValues random(204);
  const TreeShape tree = Chain(17, 3);
  TreeKv kv(backend_.get(), shape, tree, RandomQkv(&random, shape, 20), 0, &random);
  const HostMatrix rows = random.Matrix(3, shape.qkv_cols());
  const KvSegment good = kv.Segment(0, 3, 0);
  EXPECT_EQ(kv.Attend(rows, absl::MakeConstSpan(&good, 1)).rows, 3);
  const auto attend = [&](absl::Span<const int32_t> begins, absl::Span<const int32_t> paths) {
    KvSegment segment = good;
    segment.path_begins = begins;
    segment.path_slots = paths;
    (void)kv.Attend(rows, absl::MakeConstSpan(&segment, 1));
  };
  const std::vector<int32_t> begins(good.path_begins.begin(), good.path_begins.end());
  const std::vector<int32_t> paths(good.path_slots.begin(), good.path_slots.end());
  EXPECT_DEATH(attend(absl::MakeConstSpan(begins).first(3), paths), "");
  EXPECT_DEATH(attend({0, 1, 1, 6}, paths), "");
  EXPECT_DEATH(attend({0, 1, 3, 7}, paths), "");
  EXPECT_DEATH(attend({0, 1, 3, 5}, paths), "");  // Ends with another row's slot.
  std::vector<int32_t> other = paths;
  other[3] = 16;  // Of the context.
  EXPECT_DEATH(attend(begins, other), "");
  other[3] = static_cast<int32_t>(kv.pages().size()) * kPageSlots;
  EXPECT_DEATH(attend(begins, other), "");
  KvSegment prefix = good;
  prefix.visible_prefix = 2;
  EXPECT_DEATH((void)kv.Attend(rows, absl::MakeConstSpan(&prefix, 1)), "");
}

}  // namespace
}  // namespace prefixd
