#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include "tests/engine/step_loop_fixture.h"

namespace prefixd {
namespace {

using Requests = std::vector<std::unique_ptr<ActiveRequest>>;

constexpr SchedulerOptions kOptions{
    .max_batch_rows = 8, .max_prefill_rows = 6, .max_running = 4, .num_pages = 100};

class SchedulerTest : public ::testing::Test {
 protected:
  ActiveRequest* Add(Requests* requests, int32_t prompt_rows, int64_t reserved_pages = 1,
                     int32_t num_choices = 1) {
    auto request = std::make_unique<ActiveRequest>();
    request->prompt.token_ids.assign(prompt_rows, 1);
    request->reserved_pages = reserved_pages;
    request->request.output.num_choices = num_choices;
    for (int32_t i = 0; i < num_choices; ++i) {
      request->choices.push_back(
          std::make_unique<Sequence>(i, KvSequence(1), &tokenizer_, TextStreamer::Options{}));
    }
    request->phase = ActiveRequest::Phase::kPrefill;
    requests->push_back(std::move(request));
    return requests->back().get();
  }
  static void Decode(ActiveRequest* request) {
    request->phase = ActiveRequest::Phase::kDecode;
    request->computed_rows = request->prompt_rows();
  }

  testing::FakeTokenizer tokenizer_;
  const Scheduler scheduler_{kOptions};
  StepPlan plan_;
};

TEST_F(SchedulerTest, PlansDecodesFirstAndFillsTheRestWithPrefill) {
  Requests running;
  ActiveRequest* const decoding = Add(&running, 3, 1, 2);
  Decode(decoding);
  ActiveRequest* const prefilling = Add(&running, 20);

  scheduler_.Plan(running, &plan_);

  ASSERT_EQ(plan_.decodes.size(), 2u);
  EXPECT_EQ(plan_.decodes[1].sequence, decoding->choices[1].get());
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].request, prefilling);
  EXPECT_EQ(plan_.prefills[0].num_rows, 6);  // 8 - 2 decodes, also the chunk limit.
  EXPECT_FALSE(plan_.prefills[0].last);
}

TEST_F(SchedulerTest, TheLastPieceEndsAtTheEndOfThePrompt) {
  Requests running;
  Add(&running, 10)->computed_rows = 7;
  scheduler_.Plan(running, &plan_);
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].num_rows, 3);
  EXPECT_TRUE(plan_.prefills[0].last);
}

TEST_F(SchedulerTest, PrefillMovesByOneRowWhenDecodesFillTheBudget) {
  const Scheduler narrow(
      {.max_batch_rows = 2, .max_prefill_rows = 2, .max_running = 2, .num_pages = 100});
  Requests running;
  Decode(Add(&running, 3, 1, 2));
  Add(&running, 20);
  narrow.Plan(running, &plan_);
  EXPECT_EQ(plan_.decodes.size(), 2u);
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].num_rows, 1);
}

TEST_F(SchedulerTest, PrefillStopsInFrontOfAnImageThatIsNotEncoded) {
  Requests running;
  ActiveRequest* const request = Add(&running, 10);
  request->prompt.images.push_back({.row_begin = 2, .num_rows = 5});

  scheduler_.Plan(running, &plan_);
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].num_rows, 2);

  request->computed_rows = 2;
  scheduler_.Plan(running, &plan_);
  EXPECT_TRUE(plan_.prefills.empty());
  ASSERT_EQ(plan_.images.size(), 1u);
  EXPECT_EQ(plan_.images[0].num_steps, 1);
}

TEST_F(SchedulerTest, AParkedRequestGetsNothing) {
  Requests running;
  ActiveRequest* const request = Add(&running, 3);
  Decode(request);
  request->parked = true;
  scheduler_.Plan(running, &plan_);
  EXPECT_TRUE(plan_.empty());
}

TEST_F(SchedulerTest, AFinishedChoiceIsNotDecoded) {
  Requests running;
  ActiveRequest* const request = Add(&running, 3, 1, 2);
  Decode(request);
  request->choices[0]->finished = true;
  scheduler_.Plan(running, &plan_);
  ASSERT_EQ(plan_.decodes.size(), 1u);
  EXPECT_EQ(plan_.decodes[0].sequence->choice, 1);
}

TEST_F(SchedulerTest, AdmitsWhilePagesCanBePromised) {
  Requests running, waiting;
  Add(&running, 3, 40);
  ActiveRequest* const fits = Add(&waiting, 3, 60);
  Add(&waiting, 3, 1);
  EXPECT_EQ(scheduler_.Admit(running, waiting), std::vector<ActiveRequest*>({fits}));
}

TEST_F(SchedulerTest, ALargeRequestIsNotOvertaken) {
  Requests running, waiting;
  Add(&running, 3, 40);
  Add(&waiting, 3, 61);
  Add(&waiting, 3, 1);
  EXPECT_TRUE(scheduler_.Admit(running, waiting).empty());
}

TEST_F(SchedulerTest, CountsEveryChoiceAgainstTheRunningLimit) {
  Requests running, waiting;
  Add(&running, 3, 1, 2);
  ActiveRequest* const fits = Add(&waiting, 3, 1, 2);
  Add(&waiting, 3, 1, 1);
  EXPECT_EQ(scheduler_.Admit(running, waiting), std::vector<ActiveRequest*>({fits}));
}

}  // namespace
}  // namespace prefixd
