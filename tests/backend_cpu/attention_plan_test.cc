#include "engine/backend/cpu/attention_plan.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "engine/backend/cpu/kernels.h"
#include "gtest/gtest.h"

namespace prefixd::cpu {
namespace {

using Pages = std::vector<int32_t>;
// member_begin, member_end, page_begin, page_end.
using StripList = std::vector<std::array<int, 4>>;

AttentionPlan PlanOf(const std::vector<AttentionRows>& rows,
                     const AttentionPlanOptions& options = {}) {
  AttentionPlan plan;
  PlanAttention(rows, options, &plan);
  return plan;
}

StripList StripsOf(const AttentionPlan& plan) {
  StripList strips;
  for (const auto& s : plan.strips) {
    strips.push_back({s.member_begin, s.member_end, s.page_begin, s.page_end});
  }
  return strips;
}

AttentionRows DecodeRow(int64_t row, int visible, const Pages& pages) {
  return {.row_begin = row,
          .num_rows = 1,
          .first_visible = visible,
          .visible_step = 1,
          .page_ids = pages.data()};
}

TEST(AttentionPlan, CoversATreeOfPrefixesWithStrips) {
  const Pages a = {1, 2, 3, 4, 5, 6}, b = {1, 2, 3, 4, 7}, c = {1, 2, 3, 8};
  const AttentionPlan plan =
      PlanOf({DecodeRow(0, 96, a), DecodeRow(1, 80, b), DecodeRow(2, 64, c)});
  ASSERT_EQ(plan.tiles.size(), 1u);
  ASSERT_EQ(plan.members.size(), 3u);
  EXPECT_EQ(plan.members[0].rows.row_begin, 0);
  EXPECT_EQ(plan.members[1].rows.row_begin, 1);
  EXPECT_EQ(plan.members[2].rows.row_begin, 2);
  EXPECT_EQ(StripsOf(plan),
            (StripList{{0, 3, 0, 3}, {0, 2, 3, 4}, {0, 1, 4, 6}, {1, 2, 4, 5}, {2, 3, 3, 4}}));
  EXPECT_EQ(plan.tiles[0].last_visible, 96);
  EXPECT_EQ(plan.tiles[0].work, 96 + 80 + 64);
}

TEST(AttentionPlan, SharesOnlyPagesThatAllRowsSeeWhole) {
  const Pages pages = {4, 5, 6};
  const AttentionPlan plan = PlanOf({DecodeRow(0, 47, pages), DecodeRow(1, 48, pages)});
  EXPECT_EQ(StripsOf(plan), (StripList{{0, 2, 0, 2}, {0, 1, 2, 3}, {1, 2, 2, 3}}));
}

TEST(AttentionPlan, RowsOfATreeShareTheWholePagesOfTheContext) {
  const Pages pages = {4, 5, 6, 7};
  const int32_t first_path[] = {38}, second_path[] = {38, 61, 40, 41, 42, 43, 44, 45, 46, 47, 48};
  AttentionRows first = DecodeRow(0, 37 + 1, pages), second = DecodeRow(1, 37 + 11, pages);
  first.context = second.context = 37;
  first.path = first_path;
  second.path = second_path;
  // The third page is put together for each; that of the plain sequence is its own.
  const AttentionPlan plan = PlanOf({first, second, DecodeRow(2, 48, pages)});
  EXPECT_EQ(StripsOf(plan), (StripList{{0, 3, 0, 2}, {0, 1, 2, 3}, {1, 2, 2, 3}, {2, 3, 2, 3}}));
}

TEST(AttentionPlan, EqualSequencesNeedNoPagesOfTheirOwn) {
  const Pages pages = {4, 5, 6};
  const AttentionPlan plan = PlanOf({DecodeRow(0, 48, pages), DecodeRow(1, 48, pages)});
  EXPECT_EQ(StripsOf(plan), (StripList{{0, 2, 0, 3}}));
}

TEST(AttentionPlan, AShortReaderDoesNotPartTheOthers) {
  const Pages pages = {4, 5, 6, 7};
  const AttentionPlan plan =
      PlanOf({DecodeRow(0, 64, pages), DecodeRow(1, 20, pages), DecodeRow(2, 64, pages)});
  EXPECT_EQ(StripsOf(plan), (StripList{{0, 3, 0, 1}, {0, 1, 1, 2}, {1, 3, 1, 4}}));
  EXPECT_EQ(plan.members[0].rows.row_begin, 1);
}

TEST(AttentionPlan, DifferentPagesMakeTilesOfTheirOwn) {
  const Pages a = {3, 2}, b = {1, 2};
  const AttentionPlan plan = PlanOf({DecodeRow(0, 32, a), DecodeRow(1, 32, b)});
  EXPECT_EQ(plan.tiles.size(), 2u);
  EXPECT_EQ(plan.sets.size(), 2u);
  EXPECT_EQ(StripsOf(plan), (StripList{{0, 1, 0, 2}, {1, 2, 0, 2}}));
}

TEST(AttentionPlan, NothingIsSharedWhenSwitchedOffOrWithoutPageIds) {
  const Pages pages = {4, 5};
  EXPECT_EQ(PlanOf({DecodeRow(0, 32, pages), DecodeRow(1, 32, pages)}, {.share_pages = false})
                .tiles.size(),
            2u);
  const AttentionRows image = {.num_rows = 1, .first_visible = 32};
  EXPECT_EQ(PlanOf({image, image}).tiles.size(), 2u);
}

TEST(AttentionPlan, ALittleInCommonBeforeMuchElseStaysApart) {
  Pages a(24), b(24), c(24);
  for (int i = 0; i < 24; ++i) {
    a[i] = i;
    b[i] = i < 3 ? i : 100 + i;
    c[i] = i < 2 ? i : 200 + i;
  }
  const int visible = 24 * kPageRows;
  EXPECT_EQ(PlanOf({DecodeRow(0, visible, a), DecodeRow(1, visible, b)}).tiles.size(), 1u);
  EXPECT_EQ(PlanOf({DecodeRow(0, visible, a), DecodeRow(1, visible, c)}).tiles.size(), 2u);
}

TEST(AttentionPlan, ReadsAPrefixOnceForManyDecodeRows) {
  std::vector<Pages> pages;
  for (int i = 0; i < 64; ++i) pages.push_back({1, 2, 3, 10 + i});
  std::vector<AttentionRows> rows;
  for (int i = 0; i < 64; ++i) rows.push_back(DecodeRow(i, 50, pages[i]));
  const AttentionPlan plan = PlanOf(rows, {.vectors_per_row = 3});
  EXPECT_EQ(plan.tiles.size(), 1u);
  EXPECT_EQ(plan.tiles[0].num_vectors, 192);
  EXPECT_EQ(plan.strips.size(), 65u);
  // With few kv heads and several threads all get some.
  const AttentionPlan spread =
      PlanOf(rows, {.vectors_per_row = 3, .num_kv_heads = 1, .num_threads = 2});
  EXPECT_EQ(spread.tiles.size(), 4u);
  for (const auto& tile : spread.tiles) EXPECT_EQ(tile.num_vectors, 48);
}

TEST(AttentionPlan, CutsALonePrefillIntoTilesTheLastRowsFirst) {
  const Pages pages = {1, 2, 3, 4};
  AttentionRows rows = DecodeRow(5, 11, pages);
  rows.num_rows = 20;
  const AttentionPlan plan = PlanOf({rows}, {.vectors_per_row = 6});
  ASSERT_EQ(plan.tiles.size(), 3u);
  ASSERT_EQ(plan.sets.size(), 1u);
  EXPECT_EQ(plan.members[0].rows.row_begin, 21);
  EXPECT_EQ(plan.members[0].rows.num_rows, 4);
  EXPECT_EQ(plan.members[0].rows.first_visible, 27);
  EXPECT_EQ(plan.members[2].rows.row_begin, 5);
  EXPECT_EQ(StripsOf(plan), (StripList{{0, 1, 0, 2}, {1, 2, 0, 2}, {2, 3, 0, 2}}));
}

TEST(AttentionPlan, EveryRowSeesThePrefix) {
  const Pages pages = {1, 2, 3, 4};
  AttentionRows rows = DecodeRow(0, 1, pages);
  rows.num_rows = 50;
  rows.visible_prefix = 48;
  EXPECT_EQ(rows.visible(0), 48);
  EXPECT_EQ(rows.visible(47), 48);
  EXPECT_EQ(rows.visible(48), 49);
  EXPECT_EQ(rows.last_visible(), 50);
  // A reader of the same pages shares all that the rows see whole: the prefix.
  const AttentionPlan plan = PlanOf({rows, DecodeRow(50, 48, pages)});
  ASSERT_EQ(plan.tiles.size(), 1u);
  EXPECT_EQ(plan.members[0].rows.num_rows, 50);
  EXPECT_EQ(StripsOf(plan), (StripList{{0, 2, 0, 3}, {0, 1, 3, 4}}));
}

TEST(AttentionPlan, IgnoresSequencesWithoutRows) {
  const Pages pages = {1};
  AttentionRows none = DecodeRow(0, 16, pages);
  none.num_rows = 0;
  EXPECT_TRUE(PlanOf({none}).tiles.empty());
  EXPECT_EQ(PlanOf({none, DecodeRow(0, 16, pages), none}).members.size(), 1u);
  EXPECT_TRUE(PlanOf({}).tiles.empty());
}

// What every plan must hold, whatever the input.
void ExpectSound(const std::vector<AttentionRows>& rows, const AttentionPlanOptions& options,
                 const AttentionPlan& plan) {
  std::map<int64_t, const AttentionRows*> rows_at;
  for (const AttentionRows& r : rows) {
    for (int i = 0; i < r.num_rows; ++i) rows_at[r.row_begin + i] = &r;
  }
  std::set<int64_t> seen;
  int next_member = 0, next_strip = 0;
  for (const auto& tile : plan.tiles) {
    ASSERT_EQ(tile.member_begin, next_member);
    ASSERT_EQ(tile.strip_begin, next_strip);
    next_member = tile.member_end;
    next_strip = tile.strip_end;
    ASSERT_LE(tile.num_vectors, std::max(kMaxSharedTileVectors, options.vectors_per_row));
    int vectors = 0;
    std::vector<int> covered(plan.members.size(), 0);
    for (int s = tile.strip_begin; s < tile.strip_end; ++s) {
      const auto& strip = plan.strips[s];
      ASSERT_GE(strip.member_begin, tile.member_begin);
      ASSERT_LE(strip.member_end, tile.member_end);
      for (int m = strip.member_begin; m < strip.member_end; ++m) {
        ASSERT_EQ(covered[m], strip.page_begin);
        covered[m] = strip.page_end;
        if (strip.member_end - strip.member_begin == 1) continue;
        ASSERT_GE(plan.members[m].rows.visible(0), strip.page_end * kPageRows);
        for (int page = strip.page_begin; page < strip.page_end; ++page) {
          ASSERT_EQ(plan.members[m].rows.page_ids[page],
                    plan.members[strip.member_begin].rows.page_ids[page]);
        }
      }
    }
    for (int m = tile.member_begin; m < tile.member_end; ++m) {
      const AttentionRows& member = plan.members[m].rows;
      ASSERT_EQ(plan.members[m].vector_begin, vectors);
      vectors += member.num_rows * options.vectors_per_row;
      ASSERT_EQ(covered[m], (member.last_visible() + kPageRows - 1) / kPageRows);
      for (int i = 0; i < member.num_rows; ++i) {
        const int64_t row = member.row_begin + i;
        ASSERT_TRUE(seen.insert(row).second) << row;
        const AttentionRows& source = *rows_at.at(row);
        ASSERT_EQ(member.page_ids, source.page_ids);
        const int of_source = static_cast<int>(row - source.row_begin);
        ASSERT_EQ(member.visible(i), source.visible(of_source));
        ASSERT_EQ(member.first_position + i, source.first_position + of_source);
      }
    }
    ASSERT_EQ(vectors, tile.num_vectors);
  }
  EXPECT_EQ(seen.size(), rows_at.size());
}

TEST(AttentionPlan, HoldsForRandomTrees) {
  std::mt19937 random(3);
  AttentionPlan plan;  // One for all, as a backend uses it.
  for (int round = 0; round < 2000; ++round) {
    const int count = 1 + static_cast<int>(random() % 40);
    std::vector<Pages> pages(count);
    for (int i = 0; i < count; ++i) {
      if (i > 0 && random() % 4 > 0) {
        const Pages& parent = pages[random() % i];
        pages[i].assign(parent.begin(), parent.begin() + random() % (parent.size() + 1));
      }
      const size_t size = std::max<size_t>(1, pages[i].size() + random() % 6);
      // Few ids, so that some pages agree behind different ones.
      while (pages[i].size() < size) pages[i].push_back(static_cast<int32_t>(random() % 300));
    }
    std::vector<AttentionRows> rows;
    int64_t row = 0;
    for (int i = 0; i < count; ++i) {
      const int slots = static_cast<int>(pages[i].size()) * kPageRows;
      AttentionRows r = DecodeRow(row, 1 + static_cast<int>(random() % slots), pages[i]);
      if (random() % 2 == 0) {
        r.num_rows = static_cast<int>(random() % (slots - r.first_visible + 2));
      }
      if (random() % 3 == 0) r.visible_prefix = static_cast<int>(random() % slots);
      r.first_position = static_cast<int>(random() % 1000);
      row += r.num_rows;
      rows.push_back(r);
    }
    const AttentionPlanOptions options = {
        .vectors_per_row = 1 + static_cast<int>(random() % 7) * (random() % 20 == 0 ? 50 : 1),
        .num_kv_heads = 1 + static_cast<int>(random() % 4),
        .num_threads = 1 + static_cast<int>(random() % 4)};
    PlanAttention(rows, options, &plan);
    ExpectSound(rows, options, plan);
    if (testing::Test::HasFailure()) FAIL() << "round " << round;
  }
}

}  // namespace
}  // namespace prefixd::cpu
