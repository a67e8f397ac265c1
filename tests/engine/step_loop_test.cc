#include "engine/step_loop.h"

#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/engine/step_loop_fixture.h"

namespace prefixd::testing {
namespace {

TEST_F(StepLoopTest, ARequestGeneratesWhatTheLonelyRunGenerates) {
  Build({}, 1000);
  const auto sink = Submit(MakeRequest(PromptOf(40, 1), 20));
  RunToEnd();
  ASSERT_TRUE(sink->finished.has_value()) << sink->status;
  EXPECT_EQ(sink->tokens[0], LonelyRun(PromptOf(40, 1), 20));
  EXPECT_EQ(sink->finished->usage.prompt_tokens, 40);
  EXPECT_EQ(sink->finished->usage.completion_tokens, static_cast<int>(sink->tokens[0].size()));
  EXPECT_EQ(Stats().free_pages, 1000);
}

TEST_F(StepLoopTest, OutputDoesNotDependOnChunksOrBatchMates) {
  for (const int32_t chunk : {1, 7, 33, 250}) {
    Build({.max_batch_tokens = 250, .prefill_chunk = chunk, .max_running = 16}, 4000);
    std::vector<std::shared_ptr<Recorder>> sinks;
    for (int32_t i = 0; i < 32; ++i)
      sinks.push_back(Submit(MakeRequest(PromptOf(20 + 9 * i, i), 30)));
    RunToEnd();
    for (int32_t i = 0; i < 32; ++i) {
      ASSERT_TRUE(sinks[i]->finished.has_value());
      EXPECT_EQ(sinks[i]->tokens[0], LonelyRun(PromptOf(20 + 9 * i, i), 30)) << chunk << " " << i;
    }
    EXPECT_LE(model_->largest_batch, 251u);
    EXPECT_EQ(Stats().free_pages, 4000);
  }
}

TEST_F(StepLoopTest, ImageRowsTakeTheirOwnFeatures) {
  Build({.max_batch_tokens = 64, .prefill_chunk = 3}, 1000);
  auto request = MakeRequest({}, 10);
  std::vector<int32_t> seen;
  for (int32_t image = 0; image < 2; ++image) {
    request->prompt.token_ids.push_back(11 + image);
    seen.push_back(11 + image);
    request->prompt.images.push_back({.row_begin = request->prompt_rows(),
                                      .num_rows = kFakeImageRows,
                                      .pixels = Pixels(static_cast<float>(image + 3))});
    for (int32_t r = 0; r < kFakeImageRows; ++r) {
      request->prompt.token_ids.push_back(kFakeImageToken);
      seen.push_back(1000 + 10 * (image + 3) + r);
    }
  }
  const auto sink = Submit(std::move(request));
  RunToEnd();
  ASSERT_TRUE(sink->finished.has_value()) << sink->status;
  EXPECT_EQ(sink->tokens[0], LonelyRun(seen, 10));
  EXPECT_EQ(sink->started->image_tokens, 2 * kFakeImageRows);
}

TEST_F(StepLoopTest, ChoicesShareThePromptAndGoTheirOwnWay) {
  Build({.max_running = 8}, 400);
  auto request = MakeRequest(PromptOf(37, 2), 25);
  request->request.output.num_choices = 8;
  request->request.sampling.temperature = 50.0f;
  request->request.sampling.seed = 7;
  const auto sink = Submit(std::move(request));
  loop_->Step();
  // 37 rows are 3 pages a layer, however many choices share them.
  EXPECT_EQ(400 - Stats().free_pages, 3 * kLayers);
  RunToEnd();
  ASSERT_TRUE(sink->finished.has_value()) << sink->status;
  ASSERT_EQ(sink->finishes.size(), 8u);
  EXPECT_NE(sink->tokens[0], sink->tokens[1]);
  EXPECT_EQ(Stats().free_pages, 400);
}

TEST_F(StepLoopTest, AChoiceIsEqualToTheSameChoiceAmongFewer) {
  std::vector<std::vector<int32_t>> expected;
  for (const int32_t num_choices : {1, 3, 8}) {
    Build({.max_running = 8}, 400);
    auto request = MakeRequest(PromptOf(16, 5), 12);
    request->request.output.num_choices = num_choices;
    request->request.sampling.temperature = 20.0f;
    request->request.sampling.seed = 99;
    const auto sink = Submit(std::move(request));
    RunToEnd();
    for (size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(sink->tokens[i], expected[i]);
    expected = sink->tokens;
  }
}

TEST_F(StepLoopTest, ForcedTokensAreReplayedWithoutEvents) {
  Build({}, 1000);
  const std::vector<int32_t> whole = LonelyRun(PromptOf(21, 6), 30);
  ASSERT_GT(whole.size(), 12u);
  auto request = MakeRequest(PromptOf(21, 6), 30);
  ActiveRequest* const raw = request.get();
  const auto sink = Submit(std::move(request));
  raw->choices[0]->forced_tokens.assign(whole.begin(), whole.begin() + 10);
  raw->choices[0]->num_sent = 10;
  RunToEnd();
  EXPECT_EQ(sink->tokens[0], std::vector<int32_t>(whole.begin() + 10, whole.end()));
}

TEST_F(StepLoopTest, AForcedOutputIsSentAndEndsTheRequest) {
  Build({}, 1000);
  const std::vector<int32_t> forced = {5, kFakeEos, 7, 7, 9};
  auto request = MakeRequest(PromptOf(21, 6), 2);
  request->request.forced_output = forced;
  request->request.output.num_choices = 2;
  request->request.stopping.stop_token_ids = {7};
  const auto sink = Submit(std::move(request));
  RunToEnd();
  ASSERT_TRUE(sink->finished.has_value()) << sink->status;
  EXPECT_EQ(sink->tokens[0], forced);
  EXPECT_EQ(sink->tokens[1], forced);
  EXPECT_EQ(sink->finishes[0].reason, FinishReason::kMaxTokens);
}

TEST_F(StepLoopTest, AForcedOutputMustFit) {
  Build({}, 1000, /*context_length=*/48);
  auto longer = MakeRequest(PromptOf(40, 3), 100);
  longer->request.forced_output.assign(9, 5);
  EXPECT_EQ(Submit(std::move(longer))->status.code(), absl::StatusCode::kInvalidArgument);
  auto foreign = MakeRequest(PromptOf(40, 3), 100);
  foreign->request.forced_output = {kFakeVocab};
  EXPECT_EQ(Submit(std::move(foreign))->status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(StepLoopTest, StopsAtMaxTokensContextAndStopTokens) {
  Build({}, 1000, /*context_length=*/48);
  const std::vector<int32_t> whole = LonelyRun(PromptOf(40, 3), 8);
  ASSERT_EQ(whole.size(), 8u);

  const auto few = Submit(MakeRequest(PromptOf(40, 3), 4));
  const auto context = Submit(MakeRequest(PromptOf(40, 3), 100));
  auto stopping = MakeRequest(PromptOf(40, 3), 100);
  stopping->request.stopping.stop_token_ids = {whole[2]};
  const auto stopped = Submit(std::move(stopping));
  RunToEnd();

  EXPECT_EQ(few->finishes[0].reason, FinishReason::kMaxTokens);
  EXPECT_EQ(few->tokens[0].size(), 4u);
  EXPECT_EQ(context->finishes[0].reason, FinishReason::kContextLength);
  EXPECT_EQ(context->tokens[0].size(), 8u);  // 40 + 8 = 48 positions.
  EXPECT_EQ(stopped->finishes[0].reason, FinishReason::kStopToken);
  EXPECT_EQ(stopped->finishes[0].stop_token, whole[2]);
  EXPECT_EQ(stopped->tokens[0].size(), 3u);
}

TEST_F(StepLoopTest, AStopStringEndsTheTextInFrontOfIt) {
  Build({}, 1000);
  const std::string text = tokenizer_.Decode(LonelyRun(PromptOf(21, 6), 30), true);
  ASSERT_GT(text.size(), 8u);
  auto request = MakeRequest(PromptOf(21, 6), 30);
  request->request.stopping.stop = {text.substr(4, 3)};
  const auto sink = Submit(std::move(request));
  RunToEnd();
  EXPECT_EQ(sink->texts[0], text.substr(0, text.find(text.substr(4, 3))));
  EXPECT_EQ(sink->finishes[0].reason, FinishReason::kStopString);
  EXPECT_EQ(sink->finishes[0].stop_string, text.substr(4, 3));
}

TEST_F(StepLoopTest, AStopStringOutranksAnEndThatComesWithIt) {
  Build({}, 1000);
  const std::string text = tokenizer_.Decode(LonelyRun(PromptOf(21, 6), 5), true);
  auto request = MakeRequest(PromptOf(21, 6), 5);
  request->request.stopping.stop = {text.substr(3)};  // Completed by the last token.
  const auto sink = Submit(std::move(request));
  RunToEnd();
  EXPECT_EQ(sink->texts[0], text.substr(0, 3));
  EXPECT_EQ(sink->finishes[0].reason, FinishReason::kStopString);
}

TEST_F(StepLoopTest, CancelActsWithinOneStepAlsoInPrefill) {
  Build({.max_batch_tokens = 64, .prefill_chunk = 10}, 1000);
  auto request = MakeRequest(PromptOf(200, 1), 50);
  const auto handle = request->handle;
  const auto sink = Submit(std::move(request));
  loop_->Step();
  EXPECT_LT(Stats().free_pages, 1000);
  handle->stop = StopCause::kCancelled;
  loop_->Step();
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Stats().free_pages, 1000);
  EXPECT_EQ(num_ended_, 1);
}

TEST_F(StepLoopTest, ADeadlineEndsWaitingAndRunningRequests) {
  Build({.max_batch_tokens = 4, .max_running = 1}, 1000);
  auto first = MakeRequest(PromptOf(100, 1), 200);
  first->request.deadline = clock_.Now() + absl::Milliseconds(50);
  auto second = MakeRequest(PromptOf(10, 2), 2);
  second->request.deadline = clock_.Now() + absl::Milliseconds(40);
  const auto running = Submit(std::move(first));
  const auto waiting = Submit(std::move(second));
  loop_->Step();
  EXPECT_EQ(loop_->NextTimer(), clock_.Now() + absl::Milliseconds(40));
  clock_.Advance(absl::Milliseconds(45));
  loop_->Step();
  EXPECT_EQ(waiting->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(waiting->started.has_value());
  EXPECT_FALSE(running->ended);
  clock_.Advance(absl::Milliseconds(10));
  loop_->Step();
  EXPECT_EQ(running->status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(Stats().free_pages, 1000);
}

TEST_F(StepLoopTest, RefusesADeadlineThatTheQueueCannotMeet) {
  Build({.max_batch_tokens = 8, .max_running = 4}, 4000);
  model_->on_forward = [this](int num_rows) { clock_.Advance(absl::Milliseconds(num_rows)); };
  const auto busy = Submit(MakeRequest(PromptOf(400, 1), 4));
  for (int i = 0; i < 5; ++i) loop_->Step();  // A row takes a millisecond; 360 are left.

  auto hopeless = MakeRequest(PromptOf(100, 2), 4);
  hopeless->request.deadline = clock_.Now() + absl::Milliseconds(400);
  const auto refused = Submit(std::move(hopeless));
  auto possible = MakeRequest(PromptOf(100, 2), 4);
  possible->request.deadline = clock_.Now() + absl::Milliseconds(500);
  const auto accepted = Submit(std::move(possible));

  EXPECT_EQ(refused->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetErrorDetail(refused->status)->reason, "DEADLINE_UNREACHABLE");
  EXPECT_TRUE(GetErrorDetail(refused->status)->retry_after.has_value());
  EXPECT_FALSE(accepted->ended);
}

TEST_F(StepLoopTest, AnotherTenantsQueueDelaysADeadlineByItsShareOnly) {
  Build({.max_batch_tokens = 8, .max_running = 4, .tenants = {{.name = "a"}, {.name = "b"}}}, 4000);
  model_->on_forward = [this](int num_rows) { clock_.Advance(absl::Milliseconds(num_rows)); };
  for (int i = 0; i < 10; ++i) Submit(MakeRequest(PromptOf(400, i), 1));
  for (int i = 0; i < 5; ++i) loop_->Step();  // A row takes a millisecond; 3960 are left.

  const auto submit = [this](absl::Duration in) {
    auto request = MakeRequest(PromptOf(100, 2), 4);
    request->tenant = 1;
    request->request.tenant = "b";
    request->request.deadline = clock_.Now() + in;
    return Submit(std::move(request));
  };
  // Beside 100 of its own rows the other tenant gets 100.
  EXPECT_EQ(GetErrorDetail(submit(absl::Milliseconds(190))->status)->reason,
            "DEADLINE_UNREACHABLE");
  const auto accepted = submit(absl::Milliseconds(250));
  RunToEnd();
  EXPECT_TRUE(accepted->finished.has_value()) << accepted->status;
}

TEST_F(StepLoopTest, ADeadlineCountsOnWhatIsCached) {
  Build({.max_batch_tokens = 8, .max_running = 4}, 4000);
  model_->on_forward = [this](int num_rows) { clock_.Advance(absl::Milliseconds(num_rows)); };
  const auto submit = [this] {
    auto request = MakeRequest(PromptOf(400, 1), 4);
    Share(request.get());
    request->request.deadline = clock_.Now() + absl::Milliseconds(450);
    return Submit(std::move(request));
  };
  ASSERT_FALSE(submit()->ended);
  for (int i = 0; i < 25; ++i) loop_->Step();  // 200 rows are left, and as many are published.
  EXPECT_FALSE(submit()->ended);               // 200 to wait for and 200 of its own.
}

TEST_F(StepLoopTest, ASoftTimeLimitKeepsWhatThereIs) {
  Build({}, 1000);
  auto request = MakeRequest(PromptOf(10, 9), 400);
  request->request.stopping.ignore_eos = true;
  request->request.stopping.soft_time_limit = absl::Milliseconds(20);
  const auto sink = Submit(std::move(request));
  for (int i = 0; i < 5; ++i) loop_->Step();
  clock_.Advance(absl::Milliseconds(25));
  TakeStepInFlight();
  loop_->Step();
  ASSERT_TRUE(sink->finished.has_value());
  EXPECT_EQ(sink->finishes[0].reason, FinishReason::kTimeLimit);
  EXPECT_EQ(sink->tokens[0].size(), 5u);
}

TEST_F(StepLoopTest, ARequestThatCanNeverFitIsRefusedWithBothNumbers) {
  Build({}, 3 * kLayers);
  const auto sink = Submit(MakeRequest(PromptOf(40, 1), 30));
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kResourceExhausted);
  // 40 + 30 - 1 = 69 stored rows are 5 pages in each of 3 layers.
  EXPECT_EQ(GetErrorDetail(sink->status)->metadata[0].second, "15");
  EXPECT_EQ(GetErrorDetail(sink->status)->metadata[1].second, "9");
}

TEST_F(StepLoopTest, AnUnsetLengthTakesWhatTheCacheHolds) {
  Build({}, 3 * kLayers);
  auto request = MakeRequest(PromptOf(40, 1), 1);
  request->request.stopping.max_tokens.reset();
  const auto sink = Submit(std::move(request));
  RunToEnd();
  ASSERT_TRUE(sink->finished.has_value()) << sink->status;
  EXPECT_GE(sink->started->max_tokens, 2);
}

TEST_F(StepLoopTest, WaitingRequestsRunWhenPagesComeFree) {
  Build({}, 4 * kLayers);
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int32_t i = 0; i < 6; ++i) sinks.push_back(Submit(MakeRequest(PromptOf(30, i), 20)));
  RunToEnd();
  for (int32_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(sinks[i]->finished.has_value()) << sinks[i]->status;
    EXPECT_EQ(sinks[i]->tokens[0], LonelyRun(PromptOf(30, i), 20));
  }
}

TEST_F(StepLoopTest, HigherPriorityIsAdmittedFirst) {
  Build({.max_running = 1}, 1000);
  Submit(MakeRequest(PromptOf(5, 0), 3));
  loop_->Step();
  const auto low = Submit(MakeRequest(PromptOf(5, 1), 3));
  auto urgent = MakeRequest(PromptOf(5, 2), 3);
  urgent->request.priority = 5;
  const auto high = Submit(std::move(urgent));
  while (!high->started) ASSERT_TRUE(loop_->Step());
  EXPECT_FALSE(low->started.has_value());
  RunToEnd();
}

TEST_F(StepLoopTest, ASlowReaderIsParkedAndGoesOnWhereItWas) {
  Build({}, 1000);
  const auto sink = Submit(MakeRequest(PromptOf(12, 8), 20));
  loop_->Step();
  loop_->Step();
  sink->writable = false;
  TakeStepInFlight();
  EXPECT_FALSE(loop_->Step());
  EXPECT_EQ(Stats().requests[0].state, "parked");
  EXPECT_LT(Stats().free_pages, 1000);
  sink->writable = true;
  RunToEnd();
  EXPECT_EQ(sink->tokens[0], LonelyRun(PromptOf(12, 8), 20));
}

TEST_F(StepLoopTest, AFailedStepFailsItsRequestsOnly) {
  Build({}, 1000);
  const auto sink = Submit(MakeRequest(PromptOf(12, 8), 20));
  model_->forward_status = absl::InternalError("injected");
  loop_->Step();
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kInternal);
  model_->forward_status = absl::OkStatus();
  const auto next = Submit(MakeRequest(PromptOf(12, 8), 20));
  RunToEnd();
  EXPECT_EQ(next->tokens[0], LonelyRun(PromptOf(12, 8), 20));
  EXPECT_EQ(Stats().free_pages, 1000);
}

TEST_F(StepLoopTest, LogitsThatAreNotFiniteFailTheRequest) {
  Build({}, 1000);
  model_->fail_logits = true;
  const auto sink = Submit(MakeRequest(PromptOf(12, 8), 20));
  RunToEnd();
  EXPECT_EQ(sink->status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Stats().free_pages, 1000);
}

TEST_F(StepLoopTest, AnImageThatCannotBeEncodedFailsItsRequestOnly) {
  Build({}, 1000);
  model_->fail_image = true;
  auto request = MakeRequest(std::vector<int32_t>(kFakeImageRows, kFakeImageToken), 5);
  request->prompt.images.push_back(
      {.row_begin = 0, .num_rows = kFakeImageRows, .pixels = Pixels(1.0f)});
  const auto with_image = Submit(std::move(request));
  const auto text = Submit(MakeRequest(PromptOf(12, 8), 20));
  RunToEnd();
  EXPECT_EQ(with_image->status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(text->finished.has_value());
}

TEST_F(StepLoopTest, AThousandRequestsWithRandomEndsGiveEveryPageBack) {
  Build({.max_batch_tokens = 40, .prefill_chunk = 13, .max_running = 12}, 300);
  std::mt19937 random(20261125);
  const auto draw = [&random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  std::vector<std::shared_ptr<Recorder>> sinks;
  std::vector<std::shared_ptr<RequestHandle>> handles;
  for (int i = 0; i < 1000; ++i) {
    auto request = MakeRequest(PromptOf(draw(1, 120), draw(0, 1000)), draw(1, 40));
    request->request.output.num_choices = draw(0, 3) == 0 ? draw(2, 4) : 1;
    if (draw(0, 3) == 0) request->request.deadline = clock_.Now() + absl::Milliseconds(draw(1, 60));
    handles.push_back(request->handle);
    sinks.push_back(Submit(std::move(request)));
    for (int steps = draw(0, 6); steps > 0; --steps) {
      loop_->Step();
      clock_.Advance(absl::Milliseconds(1));
    }
    if (draw(0, 2) == 0) handles[draw(0, i)]->stop = StopCause::kCancelled;
    if (draw(0, 9) == 0) sinks[draw(0, i)]->writable = false;
    if (draw(0, 3) == 0) {
      for (const auto& sink : sinks) sink->writable = true;
    }
  }
  for (const auto& sink : sinks) sink->writable = true;
  RunToEnd(100000);
  int finished = 0;
  for (const auto& sink : sinks) {
    EXPECT_TRUE(sink->ended);
    finished += sink->finished.has_value();
  }
  EXPECT_GT(finished, 300);
  EXPECT_EQ(num_ended_, 1000);
  EXPECT_EQ(Stats().free_pages, 300);
  EXPECT_EQ(Stats().requests.size(), 0u);
}

}  // namespace
}  // namespace prefixd::testing
