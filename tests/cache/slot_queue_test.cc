#include "cache/slot_queue.h"

#include <deque>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

TEST(SlotQueue, GivesTheOldestFirst) {
  SlotQueue queue;
  EXPECT_TRUE(queue.empty());
  queue.Push(7);
  queue.Push(3);
  queue.Push(5);
  EXPECT_THAT(queue.slots(), ElementsAre(7, 3, 5));
  EXPECT_EQ(queue.Pop(), 7);
  EXPECT_EQ(queue.Pop(), 3);
  queue.Push(7);
  EXPECT_THAT(queue.slots(), ElementsAre(5, 7));
  EXPECT_EQ(queue.Pop(), 5);
  EXPECT_EQ(queue.Pop(), 7);
  EXPECT_TRUE(queue.empty());
}

TEST(SlotQueue, IsADequeOverManyRandomOperations) {
  std::mt19937 random(1);
  SlotQueue queue;
  std::deque<int32_t> model;
  for (int i = 0; i < 20000; ++i) {
    // Long phases of growing and of shrinking.
    const bool push = model.empty() || random() % 100 < (i / 500 % 2 == 0 ? 70u : 35u);
    if (push) {
      queue.Push(i);
      model.push_back(i);
    } else {
      ASSERT_EQ(queue.Pop(), model.front());
      model.pop_front();
    }
    ASSERT_EQ(queue.empty(), model.empty());
    if (i % 16 != 0) continue;
    ASSERT_THAT(queue.slots(), ElementsAreArray(model));
  }
}

TEST(SlotQueueDeathTest, NothingLeavesAnEmptyQueue) {
  SlotQueue queue;
  EXPECT_DEATH(queue.Pop(), "empty");
}

}  // namespace
}  // namespace prefixd
