#include "tools/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;

class ProgressTest : public ::testing::Test {
 protected:
  Progress::Write Writer() {
    return [this](absl::string_view text) { written_.emplace_back(text); };
  }

  ManualClock clock_;
  std::vector<std::string> written_;
};

TEST_F(ProgressTest, WritesALineNowAndThenWithTheTimeLeft) {
  {
    Progress progress("evaluate", /*terminal=*/false, &clock_, Writer());
    progress.Update(0, 400);
    clock_.Advance(absl::Seconds(9));
    progress.Update(50, 400);  // Too early.
    clock_.Advance(absl::Seconds(1));
    progress.Update(100, 400);
    clock_.Advance(absl::Seconds(30));
    progress.Update(400, 400);
  }
  EXPECT_THAT(written_, ElementsAre("evaluate 0 % 0/400\n", "evaluate 25 % 100/400, 30s left\n",
                                    "evaluate 100 % 400/400, took 40s\n"));
}

TEST_F(ProgressTest, WhatWasDoneBeforeSaysNothingAboutTheRate) {
  Progress progress("calibrate", false, &clock_, Writer());
  progress.Update(300, 400);
  clock_.Advance(absl::Minutes(2));
  progress.Update(350, 400);
  EXPECT_EQ(written_.back(), "calibrate 87 % 350/400, 2m00s left\n");
}

TEST_F(ProgressTest, RedrawsABarOnATerminalAndEndsItsLine) {
  {
    Progress progress("x", /*terminal=*/true, &clock_, Writer());
    progress.Update(0, 30);
    clock_.Advance(absl::Milliseconds(50));
    progress.Update(1, 30);  // Too early.
    clock_.Advance(absl::Milliseconds(50));
    progress.Update(10, 30);
  }
  EXPECT_THAT(written_,
              ElementsAre("\r[------------------------------] x 0 % 0/30\x1b[K",
                          "\r[##########--------------------] x 33 % 10/30, 0s left\x1b[K", "\n"));
}

}  // namespace
}  // namespace prefixd
