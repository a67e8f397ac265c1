// Steps that are launched before the tokens of the last one are taken.
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/step_loop_fixture.h"

namespace prefixd::testing {
namespace {

class RunAheadTest : public StepLoopTest {
 protected:
  RunAheadTest() { backend_.set_in_flight(2); }

  // Builds a loop that counts the rows of every step.
  void BuildCounted(StepLoopOptions options = {}, int32_t num_pages = 1000) {
    Build(std::move(options), num_pages);
    model_->on_forward = [this](int rows) { rows_.push_back(rows); };
  }

  std::vector<int> rows_;
};

// A prompt that generates exactly `length` tokens, the last of which ends the sequence.
std::vector<int32_t> PromptThatEndsAfter(size_t length) {
  for (int32_t i = 0;; ++i) {
    const std::vector<int32_t> prompt = {1 + i % 94, 1 + i / 94 % 94, 1 + i / 94 / 94};
    const std::vector<int32_t> output = LonelyRun(prompt, 200);
    if (output.size() == length && output.back() == kFakeEos) return prompt;
  }
}

TEST_F(RunAheadTest, AStepIsComputedBeforeTheLastTokenIsKnown) {
  BuildCounted();
  const auto sink = Submit(MakeRequest(PromptOf(12, 1), 6));
  loop_->Step();  // The prompt; its token is taken at once.
  ASSERT_EQ(sink->tokens.at(0).size(), 1u);
  loop_->Step();
  EXPECT_EQ(rows_.size(), 2u);
  EXPECT_EQ(sink->tokens[0].size(), 1u) << "the second token is still being drawn";
  loop_->Step();
  EXPECT_EQ(rows_.size(), 3u);
  EXPECT_EQ(sink->tokens[0].size(), 2u);
  RunToEnd();
  EXPECT_EQ(sink->tokens[0], LonelyRun(PromptOf(12, 1), 6));
  EXPECT_EQ(rows_.size(), 6u) << "nothing is computed behind the last token";
}

TEST_F(RunAheadTest, WhatWasComputedBehindTheEndOfSequenceIsForgotten) {
  BuildCounted();
  const std::vector<int32_t> prompt = PromptThatEndsAfter(7);
  const auto sink = Submit(MakeRequest(prompt, 50));
  RunToEnd();
  EXPECT_EQ(sink->tokens[0], LonelyRun(prompt, 50));
  ASSERT_TRUE(sink->finished.has_value());
  EXPECT_EQ(sink->finished->usage.completion_tokens, 7);
  EXPECT_EQ(rows_.size(), 8u) << "one step behind the end";
  EXPECT_EQ(Stats().free_pages, 1000);
}

TEST_F(RunAheadTest, OthersGoOnWhenOneEnds) {
  BuildCounted();
  const std::vector<int32_t> ends = PromptThatEndsAfter(9);
  const auto first = Submit(MakeRequest(ends, 50));
  const auto second = Submit(MakeRequest(PromptOf(20, 3), 30));
  RunToEnd();
  EXPECT_EQ(first->tokens[0], LonelyRun(ends, 50));
  EXPECT_EQ(second->tokens[0], LonelyRun(PromptOf(20, 3), 30));
}

TEST_F(RunAheadTest, ACancelIsSeenWithTheStepInFlight) {
  BuildCounted();
  auto request = MakeRequest(PromptOf(12, 2), 200);
  request->request.stopping.ignore_eos = true;
  const auto handle = request->handle;
  const auto sink = Submit(std::move(request));
  for (int i = 0; i < 5; ++i) loop_->Step();
  handle->stop = StopCause::kCancelled;
  const size_t steps = rows_.size();
  RunToEnd();
  EXPECT_TRUE(absl::IsCancelled(sink->status)) << sink->status;
  EXPECT_EQ(rows_.size(), steps) << "no step was launched behind the cancel";
  EXPECT_EQ(Stats().free_pages, 1000);
}

TEST_F(RunAheadTest, AnArrivalIsPrefilledWithTheNextStep) {
  BuildCounted();
  auto request = MakeRequest(PromptOf(12, 4), 100);
  request->request.stopping.ignore_eos = true;
  Submit(std::move(request));
  for (int i = 0; i < 4; ++i) loop_->Step();
  const auto late = Submit(MakeRequest(PromptOf(9, 5), 3));
  loop_->Step();  // Takes the step in flight.
  loop_->Step();
  EXPECT_EQ(rows_.back(), 10) << "the prompt beside the decode";
  EXPECT_EQ(late->tokens.at(0).size(), 1u);
  RunToEnd();
}

TEST_F(RunAheadTest, PenaltiesWaitForTheToken) {
  BuildCounted();
  auto request = MakeRequest(PromptOf(12, 6), 10);
  request->request.sampling.frequency_penalty = 0.001f;
  const auto sink = Submit(std::move(request));
  for (size_t i = 1; i <= 5; ++i) {
    loop_->Step();
    EXPECT_EQ(sink->tokens.at(0).size(), i);
  }
  RunToEnd();
}

TEST_F(RunAheadTest, AFailedStepEndsItsRequestsAndOthersComeAfter) {
  BuildCounted();
  const auto sink = Submit(MakeRequest(PromptOf(12, 7), 100));
  for (int i = 0; i < 3; ++i) loop_->Step();
  model_->forward_status = absl::InternalError("injected");
  loop_->Step();
  EXPECT_TRUE(absl::IsInternal(sink->status)) << sink->status;
  EXPECT_TRUE(loop_->failure().ok());
  model_->forward_status = absl::OkStatus();
  RunToEnd();
  EXPECT_EQ(Stats().free_pages, 1000);
  const auto next = Submit(MakeRequest(PromptOf(12, 8), 10));
  RunToEnd();
  EXPECT_EQ(next->tokens.at(0), LonelyRun(PromptOf(12, 8), 10));
}

TEST_F(RunAheadTest, MemoryThatLacksInAStepIsSaidSo) {
  BuildCounted();
  const auto sink = Submit(MakeRequest(PromptOf(12, 7), 100));
  model_->forward_status = absl::ResourceExhaustedError("17 bytes of 3");
  loop_->Step();
  EXPECT_TRUE(absl::IsResourceExhausted(sink->status)) << sink->status;
  EXPECT_THAT(std::string(sink->status.message()), ::testing::HasSubstr("17 bytes of 3"));
}

TEST_F(RunAheadTest, ALostDeviceEndsEverything) {
  BuildCounted({.max_running = 1});
  const auto running = Submit(MakeRequest(PromptOf(12, 7), 100));
  const auto waiting = Submit(MakeRequest(PromptOf(12, 8), 100));
  for (int i = 0; i < 3; ++i) loop_->Step();
  model_->forward_status = absl::UnavailableError("the device fell off the bus");
  RunToEnd();
  EXPECT_TRUE(absl::IsUnavailable(running->status)) << running->status;
  EXPECT_TRUE(absl::IsUnavailable(waiting->status)) << waiting->status;
  EXPECT_TRUE(absl::IsUnavailable(loop_->failure()));
  EXPECT_EQ(num_ended_, 2);
}

}  // namespace
}  // namespace prefixd::testing
