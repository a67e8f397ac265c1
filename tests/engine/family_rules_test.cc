// What the engine does otherwise for some families: prompts whose rows see each other, images that
// are seen through cross-attention, and requests that compute everything again each step.
#include <gtest/gtest.h>

#include "tests/engine/step_loop_fixture.h"

namespace prefixd::testing {
namespace {

class FamilyRulesTest : public StepLoopTest {
 protected:
  std::unique_ptr<ActiveRequest> MakeShared(std::vector<int32_t> prompt, int32_t max_tokens = 6) {
    auto request = MakeRequest(std::move(prompt), max_tokens);
    Share(request.get());
    return request;
  }
  FinishedEvent Run(std::unique_ptr<ActiveRequest> request, std::vector<int32_t> seen) {
    const auto sink = Submit(std::move(request));
    RunToEnd();
    EXPECT_TRUE(sink->finished.has_value()) << sink->status;
    EXPECT_EQ(sink->tokens[0], LonelyRun(std::move(seen), 6));
    return sink->finished.value_or(FinishedEvent{});
  }
};

// --- Prompts whose rows see each other

class WholePromptTest : public FamilyRulesTest {
 protected:
  void BuildWhole(StepLoopOptions options, int32_t num_pages = 1000) {
    Build(options, num_pages, 512, Sharing::kWholePrefix);
  }
  FinishedEvent RunWhole(std::unique_ptr<ActiveRequest> request) {
    const std::vector<int32_t> seen = FakeWholePrompt(SeenBy(request->prompt));
    return Run(std::move(request), seen);
  }
};

TEST_F(WholePromptTest, APromptIsComputedInOnePassAboveTheBudget) {
  BuildWhole({.max_batch_tokens = 16, .prefill_chunk = 8, .max_running = 4});
  const auto beside = Submit(MakeRequest(PromptOf(20, 5), 40));
  while (beside->tokens.empty()) ASSERT_TRUE(loop_->Step());
  const FinishedEvent finished = RunWhole(MakeShared(PromptOf(100, 1)));
  EXPECT_EQ(finished.cache.computed_tokens, 100);
  EXPECT_EQ(model_->largest_batch, 101u);  // Beside one decode.
  EXPECT_EQ(beside->tokens[0], LonelyRun(FakeWholePrompt(PromptOf(20, 5)), 40));
}

TEST_F(WholePromptTest, OnlyAnEqualPromptHitsAndThenWhole) {
  BuildWhole({});
  for (const int32_t length : {17, 33, 100}) {
    SCOPED_TRACE(length);
    EXPECT_EQ(RunWhole(MakeShared(PromptOf(length, 1))).cache.hit_tokens, 0);
    const FinishedEvent again = RunWhole(MakeShared(PromptOf(length, 1)));
    EXPECT_EQ(again.cache.hit_tokens, length - 1);
    EXPECT_EQ(again.cache.computed_tokens, 1);
    EXPECT_EQ(again.cache.miss, CacheMiss::kNone);
    std::vector<int32_t> other = PromptOf(length, 1);
    other.back() = other.back() % 94 + 1;
    const FinishedEvent different = RunWhole(MakeShared(other));
    EXPECT_EQ(different.cache.hit_tokens, 0);
    EXPECT_EQ(different.cache.miss, CacheMiss::kNotCached);
  }
}

TEST_F(WholePromptTest, AHitIsCountedBeforeItIsMade) {
  BuildWhole({});
  EXPECT_EQ(loop_->CountCached(MakeShared(PromptOf(40, 1))->prompt), 0);
  RunWhole(MakeShared(PromptOf(40, 1)));
  EXPECT_EQ(loop_->CountCached(MakeShared(PromptOf(40, 1))->prompt), 39);
  EXPECT_EQ(loop_->CountCached(MakeShared(PromptOf(41, 1))->prompt), 0);
}

TEST_F(WholePromptTest, OfEqualPromptsAtOnceOneIsComputed) {
  BuildWhole({});
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int i = 0; i < 5; ++i) sinks.push_back(Submit(MakeShared(PromptOf(50, 1))));
  RunToEnd();
  int32_t computed = 0;
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->finished.has_value()) << sink->status;
    EXPECT_EQ(sink->tokens[0], LonelyRun(FakeWholePrompt(PromptOf(50, 1)), 6));
    computed += sink->finished->cache.computed_tokens;
  }
  EXPECT_EQ(computed, 50 + 4);
}

TEST_F(WholePromptTest, AllImagesAreEncodedBeforeTheFirstRow) {
  BuildWhole({.feature_cache_memory = 1 << 20});
  const auto with_images = [this](int32_t text) {
    auto request = MakeRequest({}, 6);
    AppendImage(1, request.get());
    request->prompt.token_ids.push_back(text);
    AppendImage(2, request.get());
    request->prompt.token_ids.push_back(text + 1);
    Share(request.get());
    return request;
  };
  EXPECT_EQ(RunWhole(with_images(7)).cache.images_encoded, 2);
  const FinishedEvent other = RunWhole(with_images(8));
  EXPECT_EQ(other.cache.hit_tokens, 0);
  EXPECT_EQ(other.cache.feature_hits, 2);
  const FinishedEvent same = RunWhole(with_images(7));
  EXPECT_EQ(same.cache.images_in_prefix, 2);
}

TEST_F(WholePromptTest, ChoicesForkAndPreemptedOnesGoOn) {
  // 3 layers of 3 pages, and a page a layer to copy, twice: both cannot stay.
  BuildWhole({.max_batch_tokens = 24, .max_running = 8}, /*num_pages=*/40);
  auto forked = MakeShared(PromptOf(40, 1), 20);
  forked->request.output.num_choices = 2;
  const auto first = Submit(std::move(forked));
  const auto second = Submit(MakeShared(PromptOf(40, 2), 20));
  const auto third = Submit(MakeShared(PromptOf(40, 1), 20));
  RunToEnd();
  for (const auto& [sink, salt] : {std::pair{first, 1}, {second, 2}, {third, 1}}) {
    ASSERT_TRUE(sink->finished.has_value()) << sink->status;
    for (const auto& tokens : sink->tokens) {
      EXPECT_EQ(tokens, LonelyRun(FakeWholePrompt(PromptOf(40, salt)), 20));
    }
  }
  EXPECT_GT(Stats().preemptions, 0u);
}

TEST_F(WholePromptTest, NothingOfItCanBeSharedOrPinned) {
  BuildWhole({});
  auto shared = MakeShared(PromptOf(40, 1));
  shared->request.retention.scope = RetentionScope::kShared;
  shared->request.retention.budget = 0.5;
  EXPECT_TRUE(absl::IsFailedPrecondition(Submit(std::move(shared))->status));
  auto behind = MakeShared(PromptOf(40, 1));
  behind->prefix_rows = 16;
  EXPECT_TRUE(absl::IsFailedPrecondition(Submit(std::move(behind))->status));
}

// --- Images that are seen through cross-attention

class CrossAttendedTest : public FamilyRulesTest {
 protected:
  void SetUp() override {
    Build({.max_batch_tokens = 16,
           .prefill_chunk = 5,
           .max_running = 4,
           .feature_cache_memory = 1 << 20},
          1000, 512, Sharing::kCausal, /*cross_attended=*/true);
  }
  // Text, then each image followed by text.
  std::unique_ptr<ActiveRequest> Shots(const std::vector<int32_t>& images, int32_t query) {
    auto request = MakeRequest({11, 12, 13}, 6);
    for (const int32_t id : images) {
      PromptImage image{.row_begin = request->prompt_rows(), .num_rows = 1};
      image.media_id[0] = static_cast<uint8_t>(id);
      image.pixels = Pixels(static_cast<float>(id));
      request->prompt.images.push_back(std::move(image));
      request->prompt.token_ids.push_back(kFakeImageToken);
      for (int32_t i = 0; i < 9; ++i) request->prompt.token_ids.push_back(20 + id + i);
    }
    request->prompt.token_ids.push_back(query);
    Share(request.get());
    return request;
  }
  // Every row sees the last image at or before it; so do the generated ones.
  static std::vector<int32_t> RunAlone(const Prompt& prompt, int32_t max_tokens) {
    std::vector<int32_t> seen = prompt.token_ids;
    int32_t image = -1;
    size_t next = 0;
    for (size_t row = 0; row < seen.size(); ++row) {
      if (next < prompt.images.size() &&
          prompt.images[next].row_begin == static_cast<int32_t>(row)) {
        image = static_cast<int32_t>((*prompt.images[next++].pixels)[0]);
      }
      if (image >= 0) seen[row] = FakeSeeing(seen[row], image);
    }
    std::vector<int32_t> generated;
    while (static_cast<int32_t>(generated.size()) < max_tokens) {
      generated.push_back(FakeNext(seen));
      if (generated.back() == kFakeEos) break;
      seen.push_back(image >= 0 ? FakeSeeing(generated.back(), image) : generated.back());
    }
    return generated;
  }
  FinishedEvent RunShots(std::unique_ptr<ActiveRequest> request) {
    const std::vector<int32_t> expected = RunAlone(request->prompt, 6);
    const auto sink = Submit(std::move(request));
    RunToEnd();
    EXPECT_TRUE(sink->finished.has_value()) << sink->status;
    EXPECT_EQ(sink->tokens[0], expected);
    return sink->finished.value_or(FinishedEvent{});
  }
};

TEST_F(CrossAttendedTest, EveryRowSeesTheLastImageBeforeIt) {
  RunShots(Shots({}, 5));
  RunShots(Shots({1}, 5));
  RunShots(Shots({1, 2, 3}, 5));
}

TEST_F(CrossAttendedTest, ASecondQueryEncodesItsOwnImageOnly) {
  const std::vector<int32_t> shots = {1, 2, 3, 4, 5, 6, 7, 8};
  std::vector<int32_t> first = shots, second = shots;
  first.push_back(9);
  second.push_back(10);
  EXPECT_EQ(RunShots(Shots(first, 5)).cache.images_encoded, 9);
  const FinishedEvent again = RunShots(Shots(second, 5));
  EXPECT_EQ(again.cache.images_encoded, 1);
  EXPECT_GE(again.cache.hit_tokens, 3 + 8 * 10);
  // The image of the last shot is not seen by what is left to compute.
  EXPECT_EQ(again.cache.images_in_prefix, 8);
}

TEST_F(CrossAttendedTest, RowsBehindAHitStillNeedTheImageTheySee) {
  RunShots(Shots({1, 2}, 5));
  const FinishedEvent other = RunShots(Shots({1, 2}, 6));
  EXPECT_EQ(other.cache.hit_tokens, 16);  // From row 13 on the second image is seen.
  EXPECT_EQ(other.cache.feature_hits, 1);
  EXPECT_EQ(other.cache.images_encoded, 0);
}

// --- Everything again each step

TEST_F(FamilyRulesTest, WithoutACacheTheTokensAreTheSame) {
  Build({.max_batch_tokens = 16, .max_running = 4, .feature_cache_memory = 1 << 20}, 1000);
  auto request = MakeRequest(PromptOf(30, 1), 6);
  AppendImage(1, request.get());
  request->prompt.token_ids.push_back(9);
  request->request.recompute_all = true;
  const int32_t rows = request->prompt_rows();
  const std::vector<int32_t> seen = SeenBy(request->prompt);
  const FinishedEvent finished = Run(std::move(request), seen);
  const int32_t generated = finished.usage.completion_tokens;
  EXPECT_EQ(finished.cache.hit_tokens, 0);
  EXPECT_EQ(finished.cache.images_encoded, 1);
  EXPECT_EQ(finished.usage.recomputed_tokens,
            (generated - 1) * rows + (generated - 1) * (generated - 2) / 2);
  EXPECT_EQ(Stats().cache.columns, 0);
  EXPECT_EQ(Stats().cache.feature_entries, 0);
}

TEST_F(FamilyRulesTest, WithoutACacheThereIsNoBudget) {
  Build({}, 1000);
  auto request = MakeRequest(PromptOf(30, 1), 6);
  request->request.recompute_all = true;
  request->request.retention.scope = RetentionScope::kExact;
  EXPECT_TRUE(absl::IsInvalidArgument(Submit(std::move(request))->status));
}

}  // namespace
}  // namespace prefixd::testing
