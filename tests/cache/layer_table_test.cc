#include "cache/layer_table.h"

#include <optional>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;

class LayerTableTest : public ::testing::Test {
 protected:
  std::vector<int32_t> Append(LayerTable* table, int32_t count, int32_t first_position) {
    std::vector<int32_t> slots(count);
    table->Append(count, first_position, &pool_, absl::MakeSpan(slots), &copies_, &sources_);
    table->CheckInvariants(pool_);
    return slots;
  }

  PagePool pool_{8};
  std::vector<PendingCopy> copies_;
  std::vector<PageHold> sources_;
};

TEST_F(LayerTableTest, NumbersSlotsInOrderAndTakesAPageEverySixteen) {
  LayerTable table;
  EXPECT_EQ(table.PagesToAppend(0), 0);
  EXPECT_EQ(table.PagesToAppend(16), 1);
  EXPECT_EQ(table.PagesToAppend(17), 2);
  EXPECT_THAT(Append(&table, 3, 0), ElementsAre(0, 1, 2));
  EXPECT_EQ(table.page_ids().size(), 1u);
  EXPECT_EQ(table.PagesToAppend(13), 0);
  EXPECT_EQ(table.PagesToAppend(14), 1);
  EXPECT_THAT(Append(&table, 14, 3), ElementsAre(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16));
  EXPECT_EQ(table.length(), 17);
  EXPECT_EQ(table.page_ids().size(), 2u);
  EXPECT_EQ(pool_.num_free(), 6);
  EXPECT_TRUE(copies_.empty());
}

TEST_F(LayerTableTest, KeepsThePositionsItWasGiven) {
  LayerTable table;
  Append(&table, 2, 5);
  Append(&table, 1, 9);
  EXPECT_THAT(table.positions(), ElementsAre(5, 6, 9));
}

TEST_F(LayerTableTest, CopiesASharedLastPageOnTheFirstWriteOnly) {
  LayerTable a;
  Append(&a, 18, 0);
  LayerTable b = a.Fork();
  const PageId full = a.page_ids()[0];
  const PageId partial = a.page_ids()[1];
  EXPECT_EQ(a.PagesToAppend(1), 1);
  EXPECT_EQ(b.PagesToAppend(1), 1);

  EXPECT_THAT(Append(&b, 1, 18), ElementsAre(18));
  ASSERT_EQ(copies_.size(), 1u);
  EXPECT_EQ(copies_[0].source, partial);
  EXPECT_EQ(copies_[0].destination, b.page_ids()[1]);
  EXPECT_EQ(b.page_ids()[0], full);
  EXPECT_EQ(a.page_ids()[1], partial);

  // The other one is alone now, although the copy still waits.
  EXPECT_EQ(a.PagesToAppend(1), 0);
  Append(&a, 1, 18);
  Append(&b, 1, 19);
  EXPECT_EQ(copies_.size(), 1u);
  EXPECT_EQ(a.page_ids()[1], partial);
}

TEST_F(LayerTableTest, NeverCopiesAFullPage) {
  LayerTable a;
  Append(&a, 16, 0);
  LayerTable b = a.Fork();
  EXPECT_EQ(b.PagesToAppend(1), 1);
  Append(&b, 1, 16);
  EXPECT_TRUE(copies_.empty());
  EXPECT_EQ(b.page_ids()[0], a.page_ids()[0]);
}

TEST_F(LayerTableTest, KeepsTheSourceOfAWaitingCopyFromReuse) {
  std::optional<LayerTable> a(std::in_place);
  Append(&*a, 1, 0);
  LayerTable b = a->Fork();
  Append(&b, 1, 1);
  const PageId source = copies_.at(0).source;
  a.reset();
  EXPECT_EQ(pool_.ref_count(source), 0);
  EXPECT_EQ(pool_.num_free(), 6);
  sources_.clear();
  EXPECT_EQ(pool_.num_free(), 7);
}

}  // namespace
}  // namespace prefixd
