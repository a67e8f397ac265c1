// LayerTable: tables of unequal lengths, and slots that are handed on.
#include <algorithm>
#include <numeric>
#include <set>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cache/layer_table.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LayerTableDropsTest : public ::testing::Test {
 protected:
  std::vector<int32_t> Append(LayerTable* table, int32_t count, int32_t first_position) {
    std::vector<int32_t> slots(count);
    const int64_t pages = table->PagesToAppend(count);
    const int32_t free = pool_.num_free();
    table->Append(count, first_position, &pool_, absl::MakeSpan(slots), &copies_, &sources_);
    EXPECT_EQ(free - pool_.num_free(), pages) << "what it takes is what it said";
    table->CheckInvariants(pool_);
    return slots;
  }

  // A table of slots 0..count-1 at positions 0, 2, 4, ...
  LayerTable EvenPositions(int32_t count) {
    std::vector<int32_t> positions(count);
    for (int32_t i = 0; i < count; ++i) positions[i] = 2 * i;
    return LayerTable::OfPositions(positions, &pool_);
  }

  // The pages that copies replace, in order of their sources.
  std::vector<PageId> CopySources() const {
    std::vector<PageId> pages;
    for (const PendingCopy& copy : copies_) pages.push_back(copy.source);
    return pages;
  }
  void RunCopies() {
    copies_.clear();
    sources_.clear();
  }

  PagePool pool_{64};
  std::vector<PendingCopy> copies_;
  std::vector<PageHold> sources_;
};

// --- Tables of positions -------------------------------------------------------------------------

TEST_F(LayerTableDropsTest, ATableOfPositionsHasAPageEverySixteenSlots) {
  for (const int32_t count : {1, 2, 6, 15, 16, 17, 32, 33}) {
    SCOPED_TRACE(count);
    const LayerTable table = EvenPositions(count);
    table.CheckInvariants(pool_);
    EXPECT_EQ(table.length(), count);
    EXPECT_EQ(table.positions()[count - 1], 2 * (count - 1));
    EXPECT_THAT(table.page_ids(), SizeIs((count + 15) / 16));
    EXPECT_EQ(64 - pool_.num_free(), (count + 15) / 16);
    EXPECT_EQ(table.free_slot(), -1);
  }
  EXPECT_EQ(pool_.num_free(), 64);
}

TEST_F(LayerTableDropsTest, ATableOfPositionsGrowsWhereItEnds) {
  LayerTable table = EvenPositions(15);
  EXPECT_THAT(Append(&table, 3, 40), ElementsAre(15, 16, 17));
  EXPECT_EQ(table.positions()[15], 40);
  EXPECT_EQ(table.positions()[17], 42);
  EXPECT_THAT(table.page_ids(), SizeIs(2));
}

// --- Handing slots on ----------------------------------------------------------------------------

TEST_F(LayerTableDropsTest, TheOldestDroppableSlotGoesToTheNextToken) {
  LayerTable table = EvenPositions(5);
  table.BeginDrops(3);
  ASSERT_TRUE(table.DropOldest());
  EXPECT_EQ(table.free_slot(), 3);
  EXPECT_EQ(table.length(), 5) << "the slot is live until the step that writes it";
  EXPECT_THAT(Append(&table, 1, 20), ElementsAre(3));
  EXPECT_EQ(table.free_slot(), -1);
  EXPECT_THAT(table.positions(), ElementsAre(0, 2, 4, 20, 8));
  // Slot 4 is older than the new token in slot 3.
  ASSERT_TRUE(table.DropOldest());
  EXPECT_THAT(Append(&table, 1, 21), ElementsAre(4));
  ASSERT_TRUE(table.DropOldest());
  EXPECT_THAT(Append(&table, 1, 22), ElementsAre(3));
  EXPECT_THAT(table.positions(), ElementsAre(0, 2, 4, 22, 21));
}

TEST_F(LayerTableDropsTest, AStepWithoutADropGrowsInTheMiddleOfTheQueue) {
  LayerTable table = EvenPositions(4);
  table.BeginDrops(2);
  ASSERT_TRUE(table.DropOldest());
  EXPECT_THAT(Append(&table, 1, 10), ElementsAre(2));
  EXPECT_THAT(Append(&table, 1, 11), ElementsAre(4));
  std::vector<int32_t> order;
  for (int32_t position = 12; position < 16; ++position) {
    ASSERT_TRUE(table.DropOldest());
    order.push_back(table.positions()[table.free_slot()]);
    Append(&table, 1, position);
  }
  EXPECT_THAT(order, ElementsAre(6, 10, 11, 12)) << "oldest first, wherever the slots lie";
}

TEST_F(LayerTableDropsTest, NothingIsDroppedBeforeTheLayerReachesTheFirstDroppableSlot) {
  LayerTable table = EvenPositions(2);
  table.BeginDrops(3);
  EXPECT_FALSE(table.DropOldest());
  EXPECT_THAT(Append(&table, 1, 10), ElementsAre(2));
  EXPECT_FALSE(table.DropOldest());
  EXPECT_THAT(Append(&table, 1, 11), ElementsAre(3));
  EXPECT_TRUE(table.DropOldest());
  EXPECT_EQ(table.free_slot(), 3);
  EXPECT_THAT(Append(&table, 1, 12), ElementsAre(3));
}

TEST_F(LayerTableDropsTest, SeveralTokensTakeTheFreeSlotFirst) {
  LayerTable table = EvenPositions(16);
  table.BeginDrops(9);
  ASSERT_TRUE(table.DropOldest());
  EXPECT_EQ(table.PagesToAppend(1), 0);
  EXPECT_EQ(table.PagesToAppend(2), 1);
  EXPECT_EQ(table.PagesToAppend(17), 1);
  EXPECT_EQ(table.PagesToAppend(18), 2);
  EXPECT_THAT(Append(&table, 3, 50), ElementsAre(9, 16, 17));
  EXPECT_EQ(table.positions()[9], 50);
}

TEST_F(LayerTableDropsTest, AGivenSlotIsHandedOn) {
  LayerTable table = EvenPositions(18);
  table.BeginDrops(1000);
  table.DropSlot(5);
  EXPECT_THAT(Append(&table, 1, 60), ElementsAre(5));
  table.DropSlot(17);
  EXPECT_THAT(Append(&table, 2, 61), ElementsAre(17, 18));
  table.DropSlot(5);
  EXPECT_THAT(Append(&table, 1, 63), ElementsAre(5));
  EXPECT_EQ(table.positions()[5], 63);
}

TEST_F(LayerTableDropsTest, NamesThePageThatTheNextTokenIsWrittenTo) {
  LayerTable table = EvenPositions(16);
  EXPECT_EQ(table.next_written_page(), -1);
  table.BeginDrops(4);
  ASSERT_TRUE(table.DropOldest());
  EXPECT_EQ(table.next_written_page(), table.page_ids()[0]);
  Append(&table, 2, 40);
  EXPECT_EQ(table.next_written_page(), table.page_ids()[1]);
}

// --- Copy on write of a handed-on slot -----------------------------------------------------------

TEST_F(LayerTableDropsTest, AHandedOnSlotInASharedPageIsCopiedFirst) {
  LayerTable table = EvenPositions(40);
  table.BeginDrops(3);
  LayerTable fork = table.Fork();
  const PageId first = table.page_ids()[0];
  ASSERT_TRUE(table.DropOldest());
  EXPECT_EQ(table.PagesToAppend(1), 1);
  EXPECT_THAT(Append(&table, 1, 90), ElementsAre(3));
  ASSERT_THAT(copies_, SizeIs(1));
  EXPECT_EQ(copies_[0].source, first);
  EXPECT_EQ(copies_[0].destination, table.page_ids()[0]);
  EXPECT_EQ(fork.page_ids()[0], first) << "the other one keeps its page and its slot";
  EXPECT_EQ(fork.positions()[3], 6);
  EXPECT_EQ(table.page_ids()[1], fork.page_ids()[1]);
  EXPECT_EQ(table.page_ids()[2], fork.page_ids()[2]) << "the last page was not written";
}

TEST_F(LayerTableDropsTest, TheFreeSlotAndTheLastPageAreTwoCopies) {
  LayerTable table = EvenPositions(40);
  table.BeginDrops(3);
  const LayerTable fork = table.Fork();
  const PageId first = table.page_ids()[0], last = table.page_ids()[2];
  ASSERT_TRUE(table.DropOldest());
  EXPECT_EQ(table.PagesToAppend(2), 2);
  EXPECT_THAT(Append(&table, 2, 90), ElementsAre(3, 40));
  EXPECT_THAT(CopySources(), ElementsAre(first, last));
  RunCopies();
  EXPECT_THAT(Append(&table, 1, 92), ElementsAre(41));
  EXPECT_THAT(copies_, IsEmpty()) << "once is enough";
}

TEST_F(LayerTableDropsTest, TheFreeSlotInTheLastPageIsOneCopy) {
  LayerTable table = EvenPositions(40);
  table.BeginDrops(36);
  const LayerTable fork = table.Fork();
  const PageId last = table.page_ids()[2];
  ASSERT_TRUE(table.DropOldest());
  EXPECT_EQ(table.PagesToAppend(3), 1);
  EXPECT_THAT(Append(&table, 3, 90), ElementsAre(36, 40, 41));
  EXPECT_THAT(CopySources(), ElementsAre(last));
}

TEST_F(LayerTableDropsTest, TheFreeSlotInAFullLastPageIsOneCopyAndANewPage) {
  LayerTable table = EvenPositions(32);
  table.BeginDrops(30);
  const LayerTable fork = table.Fork();
  const PageId last = table.page_ids()[1];
  ASSERT_TRUE(table.DropOldest());
  EXPECT_EQ(table.PagesToAppend(1), 1);
  EXPECT_EQ(table.PagesToAppend(2), 2);
  EXPECT_THAT(Append(&table, 2, 90), ElementsAre(30, 32));
  EXPECT_THAT(CopySources(), ElementsAre(last));
}

TEST_F(LayerTableDropsTest, AForkHasTheFreeSlotAndTheQueueToo) {
  LayerTable table = EvenPositions(6);
  table.BeginDrops(2);
  ASSERT_TRUE(table.DropOldest());
  LayerTable fork = table.Fork();
  fork.CheckInvariants(pool_);
  EXPECT_EQ(fork.free_slot(), 2);
  // Each hands slots on by itself, in the same order, to tokens of its own.
  for (int32_t i = 0; i < 9; ++i) {
    if (i > 0) {
      ASSERT_TRUE(table.DropOldest());
      ASSERT_TRUE(fork.DropOldest());
    }
    EXPECT_EQ(Append(&table, 1, 100 + i), Append(&fork, 1, 200 + i));
  }
  EXPECT_THAT(table.positions(), ElementsAre(0, 2, 108, 105, 106, 107));
  EXPECT_THAT(fork.positions(), ElementsAre(0, 2, 208, 205, 206, 207));
  EXPECT_THAT(copies_, SizeIs(1)) << "whoever wrote second was alone";
}

// Every length up to three pages, every free slot or none, every set of shared pages, counts up to
// two pages: what Append takes is what PagesToAppend says, which Append() above checks, and equals
// the pages that are written, counted slot by slot.
TEST_F(LayerTableDropsTest, CountsThePagesOfEveryCase) {
  int64_t cases = 0;
  for (int32_t length = 1; length <= 48; length += length % 16 == 2 ? 11 : 1) {
    const int32_t num_pages = (length + 15) / 16;
    for (int32_t shared = 0; shared < 1 << num_pages; ++shared) {
      for (int32_t free = -1; free < length; free += free % 16 == 1 ? 13 : 1) {
        for (const int32_t count : {0, 1, 2, 3, 14, 15, 16, 17, 18, 33}) {
          SCOPED_TRACE(::testing::Message() << "length " << length << " shared " << shared
                                            << " free " << free << " count " << count);
          LayerTable table = EvenPositions(length);
          std::vector<PageRef> others;
          for (int32_t page = 0; page < num_pages; ++page) {
            if ((shared >> page & 1) != 0) others.push_back(table.SharePage(page));
          }
          table.BeginDrops(1000);
          if (free >= 0) table.DropSlot(free);
          const std::vector<PageId> before(table.page_ids().begin(), table.page_ids().end());
          const int32_t free_before = pool_.num_free();
          const std::vector<int32_t> slots = Append(&table, count, 500);

          std::set<int32_t> copied, added;
          for (const int32_t slot : slots) {
            const int32_t page = slot / 16;
            if (page >= num_pages) added.insert(page);
            if (page < num_pages && (shared >> page & 1) != 0) copied.insert(page);
          }
          ASSERT_EQ(copies_.size(), copied.size());
          ASSERT_EQ(free_before - pool_.num_free(),
                    static_cast<int32_t>(copied.size() + added.size()));
          for (int32_t page = 0; page < num_pages; ++page) {
            const bool replaced = table.page_ids()[page] != before[page];
            ASSERT_EQ(replaced, copied.contains(page));
          }
          for (const PendingCopy& pending : copies_) {
            const auto at = std::find(before.begin(), before.end(), pending.source);
            ASSERT_NE(at, before.end());
            ASSERT_EQ(table.page_ids()[at - before.begin()], pending.destination);
          }
          RunCopies();
          ++cases;
        }
      }
    }
  }
  EXPECT_EQ(pool_.num_free(), 64);
  EXPECT_GT(cases, 5000);
}

TEST_F(LayerTableDropsTest, CopiesOfAHandedOnSlotKeepTheirSource) {
  LayerTable table = EvenPositions(4);
  table.BeginDrops(0);
  {
    const LayerTable fork = table.Fork();
    ASSERT_TRUE(table.DropOldest());
    Append(&table, 1, 30);
  }
  EXPECT_EQ(pool_.num_free(), 62) << "the fork's page waits for the copy";
  RunCopies();
  EXPECT_EQ(pool_.num_free(), 63);
}

using LayerTableDropsDeathTest = LayerTableDropsTest;

TEST_F(LayerTableDropsDeathTest, OneSlotIsFreeAtATime) {
  LayerTable table = EvenPositions(4);
  table.BeginDrops(1);
  ASSERT_TRUE(table.DropOldest());
  EXPECT_DEATH(table.DropOldest(), "free_slot_");
  EXPECT_DEATH(table.DropSlot(0), "free_slot_");
}

TEST_F(LayerTableDropsDeathTest, APageThatLacksIsNoTable) {
  std::vector<int32_t> positions(64 * 16 + 1);
  std::iota(positions.begin(), positions.end(), 0);
  EXPECT_DEATH(LayerTable::OfPositions(positions, &pool_), "num_free");
}

}  // namespace
}  // namespace prefixd
