#include "engine/model_runner.h"

#include <gtest/gtest.h>

#include "base/status_macros.h"
#include "tests/engine/step_loop_fixture.h"

namespace prefixd::testing {
namespace {

class ModelRunnerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    pool_ = *backend_.CreateKvPool({.num_pages = 64, .num_kv_heads = 1, .head_dim = 2});
    runner_ = *ModelRunner::Create(&backend_, &model_, pool_.get(), &cache_,
                                   {.max_batch_rows = 64, .max_logit_rows = 8}, {});
    request_.prompt.token_ids = {5, 6, 7};
    request_.choices.push_back(
        std::make_unique<Sequence>(0, KvSequence(2), &tokenizer_, TextStreamer::Options{}));
    sequence()->tokens = request_.prompt.token_ids;
  }

  PrefillPiece Piece(int32_t num_rows, bool last) {
    return {&request_, sequence(), num_rows, /*ends_prompt=*/last, /*samples=*/last};
  }

  absl::Status Run(const StepPlan& plan) {
    PREFIXD_RETURN_IF_ERROR(runner_->Launch(plan, &result_));
    return runner_->Collect(&samples_);
  }

  Sequence* sequence() { return request_.choices[0].get(); }

  FakeBackend backend_{/*in_flight=*/2};
  FakeModel model_{&backend_, /*num_layers=*/2, /*context_length=*/128};
  FakeTokenizer tokenizer_;
  KvCache cache_{2, 64};
  std::unique_ptr<KvPool> pool_;
  std::unique_ptr<ModelRunner> runner_;
  ActiveRequest request_;
  StepResult result_;
  std::vector<SampledToken> samples_;
};

TEST_F(ModelRunnerTest, OnlyTheLastPieceOfAPromptSamples) {
  StepPlan plan;
  plan.prefills = {Piece(2, false)};
  ASSERT_TRUE(Run(plan).ok());
  EXPECT_TRUE(samples_.empty());
  EXPECT_EQ(sequence()->kv.next_position(), 2);

  plan.prefills = {Piece(1, true)};
  ASSERT_TRUE(Run(plan).ok());
  ASSERT_EQ(samples_.size(), 1u);
  EXPECT_EQ(samples_[0].token, FakeNext({5, 6, 7}));
  EXPECT_EQ(runner_->completed_steps(), 2u);
}

TEST_F(ModelRunnerTest, ADecodeRowTakesATokenThatTheHostHasNotSeen) {
  StepPlan plan;
  plan.prefills = {Piece(3, true)};
  ASSERT_TRUE(runner_->Launch(plan, &result_).ok());
  EXPECT_EQ(sequence()->draws_out, 1);
  EXPECT_EQ(sequence()->pending_rows(), 1);

  plan.Clear();
  plan.decodes = {{.request = &request_, .sequence = sequence()}};
  ASSERT_TRUE(runner_->Launch(plan, &result_).ok());
  EXPECT_EQ(runner_->launched_steps(), 2u);
  EXPECT_EQ(runner_->completed_steps(), 0u);
  ASSERT_TRUE(runner_->Collect(&samples_).ok());
  const int32_t first = samples_.at(0).token;
  EXPECT_EQ(first, FakeNext({5, 6, 7}));
  ASSERT_TRUE(runner_->Collect(&samples_).ok());
  EXPECT_EQ(samples_.at(0).token, FakeNext({5, 6, 7, first}));
  EXPECT_EQ(runner_->completed_steps(), 2u);
}

TEST_F(ModelRunnerTest, AForgottenSequenceGetsNothing) {
  StepPlan plan;
  plan.prefills = {Piece(3, true)};
  ASSERT_TRUE(runner_->Launch(plan, &result_).ok());
  EXPECT_EQ(runner_->Awaiting().size(), 1u);
  runner_->Forget(sequence());
  EXPECT_TRUE(runner_->Awaiting().empty());
  ASSERT_TRUE(runner_->Collect(&samples_).ok());
  EXPECT_TRUE(samples_.empty());
}

TEST_F(ModelRunnerTest, EndOfSequenceIsNotSampledBeforeMinTokens) {
  // A prompt whose most likely next token ends the sequence.
  for (int32_t last = 1; FakeNext(request_.prompt.token_ids) != kFakeEos; ++last) {
    ASSERT_LT(last, 10000);
    sequence()->tokens = request_.prompt.token_ids = {1 + last % 90, 1 + last / 90 % 90, 7};
  }
  request_.request.stopping.min_tokens = 1;
  StepPlan plan;
  plan.prefills = {Piece(3, true)};
  ASSERT_TRUE(Run(plan).ok());
  EXPECT_NE(samples_[0].token, kFakeEos);
  EXPECT_GE(samples_[0].token, 0);
}

}  // namespace
}  // namespace prefixd::testing
