// How the CUDA backend cuts attention calls into launches.
#include "engine/backend/cuda/cuda_attention_plan.h"

#include <random>

#include <gtest/gtest.h>

#include "engine/backend/cuda/cuda_graphs.h"
#include "engine/backend/cuda/cuda_step.h"

namespace prefixd::cuda {
namespace {

struct Rows {
  std::vector<int32_t> pages;
  int32_t num_rows = 1;
  int32_t first_visible = 1;
};

// Segments one behind the other; token t lies in slot t.
struct Call {
  explicit Call(std::vector<Rows> rows) : rows_(std::move(rows)) {
    for (const Rows& r : rows_) {
      std::vector<int32_t>& slots = slots_.emplace_back();
      for (int32_t i = 0; i < r.num_rows; ++i) slots.push_back(r.first_visible + i - 1);
    }
    for (size_t s = 0; s < rows_.size(); ++s) {
      segments.push_back({.row_begin = num_rows,
                          .num_rows = rows_[s].num_rows,
                          .pages = rows_[s].pages,
                          .write_slots = slots_[s],
                          .first_visible = rows_[s].first_visible});
      num_rows += rows_[s].num_rows;
    }
  }
  AttentionPlan Plan(const AttentionPlanOptions& options) const {
    AttentionPlan plan;
    PlanAttention(segments, num_rows, options, &plan);
    return plan;
  }

  std::vector<KvSegment> segments;
  int32_t num_rows = 0;

 private:
  std::vector<Rows> rows_;
  std::vector<std::vector<int32_t>> slots_;
};

TEST(CudaAttentionPlan, PlacesRowsAndLeavesPaddingOut) {
  const Call call({{.pages = {7, 3}, .num_rows = 2, .first_visible = 17}});
  AttentionPlan plan;
  PlanAttention(call.segments, 4, {.one_run = true}, &plan);
  EXPECT_EQ(plan.visible, (std::vector<int32_t>{17, 18, 0, 0}));
  EXPECT_EQ(plan.slots, (std::vector<int64_t>{48, 49, -1, -1}));
  ASSERT_EQ(plan.runs.size(), 1u);
  EXPECT_EQ(plan.runs[0].num_rows, 4);
  EXPECT_EQ(plan.max_visible, 18);
}

TEST(CudaAttentionPlan, LongSegmentsGoInTilesAndNeighboursInOneRun) {
  const Call call({{.pages = {1}, .first_visible = 9},
                   {.pages = {2}, .first_visible = 5},
                   {.pages = {3, 4, 5, 6, 7}, .num_rows = 70},
                   {.pages = {8}, .num_rows = 3}});
  const AttentionPlan plan = call.Plan({.tiles = true});
  ASSERT_EQ(plan.tiles.size(), 2u);
  EXPECT_EQ(plan.tiles[0].row_begin, 2);
  EXPECT_EQ(plan.tiles[0].num_rows, 64);
  EXPECT_EQ(plan.tiles[1].row_begin, 66);
  EXPECT_EQ(plan.tiles[1].num_rows, 6);
  ASSERT_EQ(plan.runs.size(), 2u);
  EXPECT_EQ(plan.runs[0].num_rows, 2);
  EXPECT_EQ(plan.runs[0].max_visible, 9);
  EXPECT_EQ(plan.runs[1].row_begin, 72);
  EXPECT_TRUE(call.Plan({}).tiles.empty());
}

TEST(CudaAttentionPlan, GroupsRowsThatBeginWithTheSamePages) {
  const Call call({{.pages = {9, 1}, .first_visible = 20},
                   {.pages = {1, 2, 3, 4}, .first_visible = 60},
                   {.pages = {1, 2, 3, 5}, .first_visible = 50},
                   {.pages = {8, 2, 3}, .first_visible = 40},
                   {.pages = {1, 2, 6}, .first_visible = 33}});
  const AttentionPlan plan = call.Plan({});
  EXPECT_EQ(plan.shared, (std::vector<int32_t>{0, 32, 32, 0, 32}));
  EXPECT_EQ(plan.leader[1], 1);
  EXPECT_EQ(plan.leader[2], 1);
  EXPECT_EQ(plan.leader[4], 1);
  ASSERT_EQ(plan.member_count[1], 3);
  const int32_t* const members = plan.members.data() + plan.member_begin[1];
  EXPECT_EQ((std::vector<int32_t>{members[0], members[1], members[2]}),
            (std::vector<int32_t>{1, 2, 4}));
  // No whole split is shared.
  EXPECT_EQ(call.Plan({.shared_unit = kSplitSlots}).shared, (std::vector<int32_t>(5, 0)));
}

TEST(CudaAttentionPlan, SumsAreCutIntoBatchesThatFit) {
  const Call call({{.pages = std::vector<int32_t>(4, 0), .num_rows = 40, .first_visible = 11}});
  float buffer[64] = {};
  const Tensor sums = {reinterpret_cast<std::byte*>(buffer), DType::kF32, 1, 64, 64};
  Call summed = call;
  summed.segments[0].sums = &sums;
  summed.segments[0].first_summed_row = 3;
  const AttentionPlan plan = summed.Plan({.max_summed = 500});
  int32_t row = 3;
  for (size_t i = 0; i < plan.sums.size(); ++i) {
    EXPECT_EQ(plan.sums[i].row_begin, row);
    row += plan.sums[i].num_rows;
    EXPECT_EQ(plan.sums[i].num_slots, 10 + row);
    EXPECT_LE(plan.sum_batches[i].num_floats, 500);
    EXPECT_EQ(plan.sum_batches[i].begin + 1, plan.sum_batches[i].end);
  }
  EXPECT_EQ(row, 40);
}

TEST(CudaAttentionPlan, TreesGoInRunsOfTheirOwnAndShareTheirContext) {
  Call call({{.pages = {1, 2}, .first_visible = 20},
             {.pages = {1, 2, 3, 4, 9, 5}, .num_rows = 3, .first_visible = 37},
             {.pages = {1, 2, 7, 8}, .num_rows = 300, .first_visible = 37}});
  const std::vector<int32_t> slots = {40, 38, 75};
  const std::vector<int32_t> begins = {2, 3, 5, 8}, paths = {0, 0, 40, 40, 38, 40, 38, 75};
  KvSegment& tree = call.segments[1];
  tree.write_slots = slots;
  tree.path_begins = begins;
  tree.path_slots = paths;
  tree.first_position = 100;
  std::vector<int32_t> many_slots(300), many_begins(301);
  for (int32_t i = 0; i < 300; ++i) many_slots[i] = 40 + i % 20;
  for (int32_t i = 0; i <= 300; ++i) many_begins[i] = i;
  call.segments[2].write_slots = many_slots;
  call.segments[2].path_begins = many_begins;
  call.segments[2].path_slots = many_slots;
  const AttentionPlan plan = call.Plan({.tiles = true});
  EXPECT_TRUE(plan.tiles.empty());
  ASSERT_EQ(plan.runs.size(), 3u);
  EXPECT_FALSE(plan.runs[0].tree);
  EXPECT_TRUE(plan.runs[1].tree && plan.runs[2].tree);
  EXPECT_EQ(plan.runs[0].num_rows, 1);
  EXPECT_EQ(plan.runs[1].row_begin, 1);
  EXPECT_EQ(plan.runs[1].num_rows, kMaxTreeRows);
  EXPECT_EQ(plan.runs[1].max_visible, 40);
  EXPECT_EQ(plan.runs[2].num_rows, 303 - kMaxTreeRows);
  EXPECT_EQ(plan.runs[2].max_visible, 38);
  EXPECT_EQ(plan.max_visible, 40);
  // What a row sees, where its path is, its position and its slot.
  const auto first = [](const auto& array) {
    return std::vector(array.begin(), array.begin() + 5);
  };
  EXPECT_EQ(first(plan.visible), (std::vector<int32_t>{20, 38, 39, 40, 38}));
  EXPECT_EQ(first(plan.context), (std::vector<int32_t>{20, 37, 37, 37, 37}));
  EXPECT_EQ(first(plan.position), (std::vector<int32_t>{0, 100, 101, 102, 0}));
  EXPECT_EQ(first(plan.path_begin), (std::vector<int32_t>{0, 0, 1, 3, 6}));
  EXPECT_EQ(std::vector(plan.paths.begin(), plan.paths.begin() + 7),
            (std::vector<int32_t>{40, 40, 38, 40, 38, 75, 40}));
  EXPECT_EQ(plan.slots[1], 3 * kSlots + 40 % kSlots + 0 * kSlots);
  EXPECT_EQ(plan.slots[3], 9 * kSlots + 75 % kSlots);
  // Whole pages of the context, also with other trees on them.
  EXPECT_EQ(plan.shared[0], 0);
  EXPECT_EQ(plan.shared[1], 32);
  EXPECT_EQ(plan.leader[4], 0);  // Counted from the run.
  EXPECT_EQ(plan.member_count[1], kMaxGroupRows);
  EXPECT_TRUE(plan.runs[1].grouped && plan.runs[2].grouped && !plan.runs[0].grouped);
  // Tables reach to the last slot of a path.
  EXPECT_EQ(PagesSeen(call.segments[0]), 2);
  EXPECT_EQ(PagesSeen(tree), 5);
  EXPECT_TRUE(call.Plan({}).context.size() == 304 && call.Plan({}).paths.size() == 306);
  call.segments[1].path_begins = call.segments[2].path_begins = {};
  EXPECT_TRUE(call.Plan({}).context.empty());
}

// Whatever the pages: members share their pages, groups are disjoint and ascending.
TEST(CudaAttentionPlan, RandomGroupsAreSound) {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Rows> rows(1 + random() % 90);
    for (Rows& r : rows) {
      for (int p = 0; p < 6; ++p) r.pages.push_back(static_cast<int32_t>(random() % (1 + p)));
      r.num_rows = random() % 5 == 0 ? 3 : 1;
      r.first_visible = 1 + static_cast<int32_t>(random() % 90);
    }
    const Call call(rows);
    const AttentionPlan plan = call.Plan({.one_run = true});
    std::vector<int> seen(call.num_rows);
    for (int32_t row = 0; row < call.num_rows; ++row) {
      if (plan.shared[row] == 0) continue;
      ASSERT_EQ(plan.shared[row] % kSlots, 0);
      ASSERT_LE(plan.shared[row], plan.visible[row]);
      const int32_t leader = plan.leader[row];
      ASSERT_EQ(plan.shared[leader], plan.shared[row]);
      for (int32_t page = 0; page < plan.shared[row] / kSlots; ++page) {
        ASSERT_EQ(call.segments[plan.sequence[row]].pages[page],
                  call.segments[plan.sequence[leader]].pages[page]);
      }
      if (leader != row) continue;
      ASSERT_GE(plan.member_count[row], 2);
      ASSERT_LE(plan.member_count[row], kMaxGroupRows);
      for (int32_t i = 0; i < plan.member_count[row]; ++i) {
        const int32_t member = plan.members[plan.member_begin[row] + i];
        ASSERT_EQ(plan.leader[member], row);
        ++seen[member];
      }
    }
    for (int32_t row = 0; row < call.num_rows; ++row) {
      ASSERT_EQ(seen[row], plan.shared[row] > 0 ? 1 : 0);
    }
  }
}

TEST(CudaGraphs, RowsAreRoundedUpToABucket) {
  EXPECT_EQ(GraphRows(1), 1);
  EXPECT_EQ(GraphRows(3), 4);
  EXPECT_EQ(GraphRows(64), 64);
  EXPECT_EQ(GraphRows(65), 96);
  EXPECT_EQ(GraphRows(257), 257);
  EXPECT_FALSE(IsGraphRows(257));
  EXPECT_EQ(VisibleBucket(1), 256);
  EXPECT_EQ(VisibleBucket(257), 384);
  EXPECT_EQ(VisibleBucket(513), 768);
}

}  // namespace
}  // namespace prefixd::cuda
