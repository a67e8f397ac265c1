#include "engine/scheduler.h"

#include <map>

#include <gtest/gtest.h>

#include "tests/engine/step_loop_fixture.h"

namespace prefixd {
namespace {

using Start = Scheduler::Start;

class SchedulerTest : public ::testing::Test {
 protected:
  static SchedulerOptions Options(int32_t max_batch_rows, int32_t max_prefill_rows,
                                  int32_t max_running) {
    return {.max_batch_rows = max_batch_rows,
            .max_prefill_rows = max_prefill_rows,
            .max_running = max_running,
            .max_logit_rows = 2 * max_running,
            .tenant_max_running = {100, 100}};
  }

  ActiveRequest* Add(RequestList* requests, int32_t prompt_rows, int32_t num_choices = 1,
                     int32_t tenant = 0) {
    auto request = std::make_unique<ActiveRequest>();
    request->prompt.token_ids.assign(prompt_rows, 1);
    request->request.output.num_choices = num_choices;
    request->arrival = next_arrival_++;
    request->tenant = tenant;
    request->max_pages = cache_.PagesForTokens(prompt_rows + 16);
    for (int32_t i = 0; i < num_choices; ++i) {
      request->choices.push_back(std::make_unique<Sequence>(i, KvSequence(1, tenant), &tokenizer_,
                                                            TextStreamer::Options{}));
      request->choices.back()->tokens = request->prompt.token_ids;
    }
    request->phase = ActiveRequest::Phase::kPrefill;
    requests->push_back(std::move(request));
    return requests->back().get();
  }
  void Compute(ActiveRequest* request, int32_t rows) {
    KvCache::Placement placement;
    for (const auto& choice : request->choices) {
      ASSERT_TRUE(cache_.Append(&choice->kv, rows, &placement));
    }
  }
  // Every choice has generated one token, which is not fed yet.
  void Decode(ActiveRequest* request) {
    Compute(request, request->prompt_rows());
    request->phase = ActiveRequest::Phase::kDecode;
    for (const auto& choice : request->choices) {
      choice->generated = {1};
      choice->tokens.push_back(1);
    }
  }
  Scheduler::Outcome Plan(const RequestList& running) {
    std::vector<const KvSequence*> alive;
    for (const auto& request : running) {
      for (const auto& choice : request->choices) alive.push_back(&choice->kv);
    }
    cache_.BeginRound(alive);
    return scheduler_.Plan(running, ++step_, &plan_);
  }

  testing::FakeTokenizer tokenizer_;
  KvCache cache_{1, 100, {{.quota = 100}, {.quota = 100}}};
  FairShare shares_{{1.0, 1.0}};
  Scheduler scheduler_{Options(8, 6, 4), &cache_, &shares_};
  StepPlan plan_;
  uint64_t step_ = 0, next_arrival_ = 0;
};

TEST_F(SchedulerTest, PlansDecodesFirstAndFillsTheRestWithPrefill) {
  RequestList running;
  ActiveRequest* const decoding = Add(&running, 3, 2);
  Decode(decoding);
  ActiveRequest* const prefilling = Add(&running, 20);

  Plan(running);

  ASSERT_EQ(plan_.decodes.size(), 2u);
  EXPECT_EQ(plan_.decodes[1].sequence, decoding->choices[1].get());
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].request, prefilling);
  EXPECT_EQ(plan_.prefills[0].num_rows, 6);  // 8 - 2 decodes, also the chunk limit.
  EXPECT_FALSE(plan_.prefills[0].samples);
}

TEST_F(SchedulerTest, TheLastPieceEndsAtTheEndOfThePrompt) {
  RequestList running;
  Compute(Add(&running, 10), 7);
  Plan(running);
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].num_rows, 3);
  EXPECT_TRUE(plan_.prefills[0].ends_prompt && plan_.prefills[0].samples);
}

TEST_F(SchedulerTest, PrefillMovesByOneRowWhenDecodesFillTheBudget) {
  const Scheduler narrow(Options(2, 2, 2), &cache_, &shares_);
  RequestList running;
  Decode(Add(&running, 3, 2));
  Add(&running, 20);
  narrow.Plan(running, 1, &plan_);
  EXPECT_EQ(plan_.decodes.size(), 2u);
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].num_rows, 1);
}

TEST_F(SchedulerTest, PrefillStopsInFrontOfAnImageThatIsNotEncoded) {
  RequestList running;
  ActiveRequest* const request = Add(&running, 10);
  request->prompt.images.push_back({.row_begin = 2, .num_rows = 5});
  request->images.resize(1);

  Plan(running);
  ASSERT_EQ(plan_.prefills.size(), 1u);
  EXPECT_EQ(plan_.prefills[0].num_rows, 2);

  Compute(request, 2);
  Plan(running);
  EXPECT_TRUE(plan_.prefills.empty());
  ASSERT_EQ(plan_.images.size(), 1u);
  EXPECT_EQ(plan_.images[0].num_steps, 1);
}

TEST_F(SchedulerTest, AParkedRequestGetsNothing) {
  RequestList running;
  ActiveRequest* const request = Add(&running, 3);
  Decode(request);
  request->parked = true;
  Plan(running);
  EXPECT_TRUE(plan_.empty());
}

TEST_F(SchedulerTest, AFinishedChoiceIsNotDecoded) {
  RequestList running;
  ActiveRequest* const request = Add(&running, 3, 2);
  Decode(request);
  request->choices[0]->finished = true;
  Plan(running);
  ASSERT_EQ(plan_.decodes.size(), 1u);
  EXPECT_EQ(plan_.decodes[0].sequence->choice, 1);
}

TEST_F(SchedulerTest, ARequestStartsWhileItsPromptAndAPageForEachFit) {
  RequestList running, waiting;
  Add(&running, 16 * 50);  // 50 pages to come.
  ActiveRequest* const fits = Add(&waiting, 16 * 48);
  ActiveRequest* const large = Add(&waiting, 16 * 48 + 1);
  EXPECT_EQ(scheduler_.CanStart(*fits, running), Start::kYes);
  EXPECT_EQ(scheduler_.CanStart(*large, running), Start::kPoolFull);
  // Alone it needs no page to spare.
  EXPECT_EQ(scheduler_.CanStart(*Add(&waiting, 16 * 100), {}), Start::kYes);
}

TEST_F(SchedulerTest, WithReservationARequestStartsWhenAllItMayHoldFits) {
  SchedulerOptions options = Options(8, 6, 4);
  options.reserve = true;
  const Scheduler careful(options, &cache_, &shares_);
  RequestList running, waiting;
  Add(&running, 16)->max_pages = 60;
  ActiveRequest* const request = Add(&waiting, 16);
  request->max_pages = 41;
  EXPECT_EQ(careful.CanStart(*request, running), Start::kPoolFull);
  request->max_pages = 40;
  EXPECT_EQ(careful.CanStart(*request, running), Start::kYes);
}

TEST_F(SchedulerTest, EveryChoiceTakesAPlaceAndParkedOnesNone) {
  RequestList running, waiting;
  ActiveRequest* const two = Add(&running, 3, 2);
  ActiveRequest* const three = Add(&waiting, 3, 3);
  EXPECT_EQ(scheduler_.CanStart(*three, running), Start::kNoPlace);
  two->parked = true;
  EXPECT_EQ(scheduler_.CanStart(*three, running), Start::kYes);
}

TEST_F(SchedulerTest, TheYoungestGivesItsPagesToTheOldest) {
  RequestList running;
  ActiveRequest* const oldest = Add(&running, 16);
  ActiveRequest* const middle = Add(&running, 16 * 49);
  ActiveRequest* const youngest = Add(&running, 16 * 50);
  for (ActiveRequest* request : {oldest, middle, youngest}) Decode(request);

  const Scheduler::Outcome outcome = Plan(running);  // Each needs a page; none is free.
  EXPECT_EQ(outcome.lacks, oldest);
  EXPECT_EQ(outcome.victim, youngest);
  middle->parked = true;
  EXPECT_EQ(Plan(running).victim, middle);
  middle->parked = false;
  middle->request.priority = -1;
  EXPECT_EQ(Plan(running).victim, middle);
}

TEST_F(SchedulerTest, ATenantThatHoldsMoreGivesToOneThatHoldsLess) {
  RequestList running;
  ActiveRequest* const large = Add(&running, 16 * 80, 1, /*tenant=*/0);
  ActiveRequest* const small = Add(&running, 16 * 20, 1, /*tenant=*/1);
  Decode(large);
  Decode(small);
  // The larger one is older, but its tenant holds more: it gives way itself.
  Scheduler::Outcome outcome = Plan(running);
  EXPECT_EQ(outcome.lacks, large);
  EXPECT_EQ(outcome.victim, large);
  large->parked = true;
  outcome = Plan(running);
  EXPECT_EQ(outcome.lacks, small);
  EXPECT_EQ(outcome.victim, large);
}

TEST_F(SchedulerTest, AHigherPriorityTakesThePlaceOfALowerOne) {
  RequestList running, waiting;
  ActiveRequest* const low = Add(&running, 3, 4);
  ActiveRequest* const request = Add(&waiting, 3);
  EXPECT_EQ(scheduler_.VictimToStart(*request, Start::kNoPlace, running), nullptr);
  request->request.priority = 1;
  EXPECT_EQ(scheduler_.VictimToStart(*request, Start::kNoPlace, running), low);
}

TEST_F(SchedulerTest, ATenantBelowItsShareTakesAPlaceFromOneAbove) {
  RequestList running, waiting;
  Add(&running, 3, 2, /*tenant=*/0);
  Add(&running, 3, 2, /*tenant=*/0);
  ActiveRequest* const request = Add(&waiting, 3, 2, /*tenant=*/1);
  shares_.BeginStep({true, true}, {true, true});
  EXPECT_EQ(scheduler_.VictimToStart(*request, Start::kNoPlace, running), running[1].get());
  ActiveRequest* const wide = Add(&waiting, 3, 3, /*tenant=*/1);  // More than its share of 4.
  EXPECT_EQ(scheduler_.VictimToStart(*wide, Start::kNoPlace, running), nullptr);
}

TEST_F(SchedulerTest, WhoeverGotNothingForLongIsServed) {
  RequestList running;
  Add(&running, 1000);
  ActiveRequest* const second = Add(&running, 1000);
  int served = 0;
  for (int i = 0; i < 64; ++i) {
    Plan(running);
    for (const PrefillPiece& piece : plan_.prefills) served += piece.request == second;
  }
  EXPECT_GE(served, 4);
}

TEST_F(SchedulerTest, ADecodingRequestDoesNotTakeTheTurnOfTheLastOneWaiting) {
  RequestList running;
  ActiveRequest* const decoding = Add(&running, 1);
  Decode(decoding);
  for (int i = 0; i < 60; ++i) Add(&running, 1000);
  std::map<const ActiveRequest*, int> last;
  int longest = 0;
  for (int i = 0; i < 200; ++i) {
    Plan(running);
    for (const PrefillPiece& piece : plan_.prefills) last[piece.request] = i;
    for (size_t r = 1; r < running.size(); ++r) {
      longest = std::max(longest, i - last[running[r].get()]);
    }
  }
  EXPECT_LE(longest, 64);
}

}  // namespace
}  // namespace prefixd
