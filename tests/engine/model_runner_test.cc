#include "engine/model_runner.h"

#include <gtest/gtest.h>

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

  Sequence* sequence() { return request_.choices[0].get(); }

  FakeBackend backend_;
  FakeModel model_{&backend_, /*num_layers=*/2, /*context_length=*/128};
  FakeTokenizer tokenizer_;
  KvCache cache_{2, 64};
  std::unique_ptr<KvPool> pool_;
  std::unique_ptr<ModelRunner> runner_;
  ActiveRequest request_;
  StepResult result_;
};

TEST_F(ModelRunnerTest, OnlyTheLastPieceOfAPromptSamples) {
  StepPlan plan;
  plan.prefills = {Piece(2, false)};
  ASSERT_TRUE(runner_->Run(plan, &result_).ok());
  EXPECT_TRUE(result_.samples.empty());
  EXPECT_EQ(sequence()->kv.next_position(), 2);

  plan.prefills = {Piece(1, true)};
  ASSERT_TRUE(runner_->Run(plan, &result_).ok());
  ASSERT_EQ(result_.samples.size(), 1u);
  EXPECT_EQ(result_.samples[0].token, FakeNext({5, 6, 7}));
  EXPECT_EQ(runner_->completed_steps(), 2u);
}

TEST_F(ModelRunnerTest, ADecodeRowTakesItsInputFromTheSampleBuffer) {
  StepPlan plan;
  plan.prefills = {Piece(3, true)};
  ASSERT_TRUE(runner_->Run(plan, &result_).ok());
  const int32_t first = result_.samples[0].token;
  sequence()->generated = {first};
  sequence()->next_input = {.sample_row = 0};  // The host need not know the token.

  plan.Clear();
  plan.decodes = {{.request = &request_, .sequence = sequence()}};
  ASSERT_TRUE(runner_->Run(plan, &result_).ok());
  EXPECT_EQ(result_.samples[0].token, FakeNext({5, 6, 7, first}));
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
  ASSERT_TRUE(runner_->Run(plan, &result_).ok());
  EXPECT_NE(result_.samples[0].token, kFakeEos);
  EXPECT_GE(result_.samples[0].token, 0);
}

}  // namespace
}  // namespace prefixd::testing
