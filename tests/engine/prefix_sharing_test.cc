// Requests that share: what they take from each other, when they wait, and what receipts say.
#include <gtest/gtest.h>

#include "tests/engine/step_loop_fixture.h"

namespace prefixd::testing {
namespace {

class PrefixSharingTest : public StepLoopTest {
 protected:
  std::unique_ptr<ActiveRequest> MakeShared(std::vector<int32_t> prompt, int32_t max_tokens,
                                            const std::string& tenant = "",
                                            const std::string& salt = "") {
    auto request = MakeRequest(std::move(prompt), max_tokens);
    request->request.tenant = tenant;
    request->request.cache_salt = salt;
    Share(request.get());
    return request;
  }
  // Runs one request to its end and checks its tokens.
  FinishedEvent Run(std::unique_ptr<ActiveRequest> request) {
    const std::vector<int32_t> expected =
        LonelyRun(SeenBy(request->prompt), *request->request.stopping.max_tokens);
    const auto sink = Submit(std::move(request));
    RunToEnd();
    EXPECT_TRUE(sink->finished.has_value()) << sink->status;
    EXPECT_EQ(sink->tokens[0], expected);
    return sink->finished.value_or(FinishedEvent{});
  }
  static std::vector<int32_t> Concat(std::vector<int32_t> head, const std::vector<int32_t>& tail) {
    head.insert(head.end(), tail.begin(), tail.end());
    return head;
  }
};

TEST_F(PrefixSharingTest, TheSecondRequestComputesOnlyItsOwnWords) {
  Build({}, 1000);
  const FinishedEvent first = Run(MakeShared(PromptOf(100, 1), 4));
  EXPECT_EQ(first.cache.hit_tokens, 0);
  EXPECT_EQ(first.cache.computed_tokens, 100);
  EXPECT_EQ(first.cache.miss, CacheMiss::kNotCached);
  const FinishedEvent second = Run(MakeShared(Concat(PromptOf(100, 1), {3, 4, 5}), 4));
  // What the first generated does not match, the partly filled last page of its prompt does.
  EXPECT_GE(second.cache.hit_tokens, 96);
  EXPECT_EQ(second.cache.hit_tokens + second.cache.computed_tokens, 103);
  EXPECT_EQ(second.usage.cached_prompt_tokens, second.cache.hit_tokens);
}

TEST_F(PrefixSharingTest, TheLastPromptTokenIsComputedAlways) {
  Build({}, 1000);
  Run(MakeShared(PromptOf(64, 1), 4));
  const FinishedEvent second = Run(MakeShared(PromptOf(64, 1), 4));
  EXPECT_EQ(second.cache.hit_tokens, 63);
  EXPECT_EQ(second.cache.computed_tokens, 1);
  EXPECT_EQ(second.cache.miss, CacheMiss::kNone);
}

TEST_F(PrefixSharingTest, AMatchEndsAtAnyToken) {
  Build({}, 1000);
  Run(MakeShared(PromptOf(64, 1), 4));
  for (const int32_t common : {0, 1, 15, 16, 17, 30, 47, 48}) {
    std::vector<int32_t> prompt = PromptOf(64, 1);
    prompt.resize(common);
    prompt.push_back(prompt.size() < 64 ? PromptOf(64, 1)[common] % 94 + 1 : 1);
    const FinishedEvent done = Run(MakeShared(Concat(prompt, {7, 8, 9}), 4));
    EXPECT_EQ(done.cache.hit_tokens, common) << common;
    EXPECT_EQ(done.cache.miss, CacheMiss::kDiverged) << common;
    loop_->Flush(-1);
    Run(MakeShared(PromptOf(64, 1), 4));
  }
}

TEST_F(PrefixSharingTest, GeneratedTokensAreSharedWithTheNextTurn) {
  Build({}, 1000);
  const std::vector<int32_t> prompt = PromptOf(21, 6);
  const std::vector<int32_t> answer = LonelyRun(prompt, 30);
  ASSERT_GT(answer.size(), 28u);
  Run(MakeShared(prompt, 30));
  const FinishedEvent next = Run(MakeShared(Concat(Concat(prompt, answer), {3, 4}), 5));
  // The last generated token was never fed, and only full pages are published.
  EXPECT_GE(next.cache.hit_tokens, 48);
}

TEST_F(PrefixSharingTest, NobodySharesAcrossTenantsSaltsAndBypasses) {
  std::vector<TenantOptions> tenants(2);
  tenants[0].name = "a";
  tenants[1].name = "b";
  Build({.tenants = tenants}, 1000);
  Run(MakeShared(PromptOf(64, 1), 4, "a"));
  auto foreign = MakeShared(PromptOf(64, 1), 4, "b");
  foreign->tenant = 1;
  EXPECT_EQ(Run(std::move(foreign)).cache.hit_tokens, 0);
  EXPECT_EQ(Run(MakeShared(PromptOf(64, 1), 4, "a", "salt")).cache.hit_tokens, 0);
  auto bypass = MakeRequest(PromptOf(64, 1), 4);
  const FinishedEvent done = Run(std::move(bypass));
  EXPECT_EQ(done.cache.hit_tokens, 0);
  EXPECT_EQ(done.cache.miss, CacheMiss::kBypassed);
  EXPECT_EQ(Run(MakeShared(PromptOf(64, 1), 4, "a")).cache.hit_tokens, 63);
}

TEST_F(PrefixSharingTest, ACachedPictureNeedsNoTower) {
  Build({.feature_cache_memory = 1 << 20}, 1000);
  const auto ask = [this](int32_t image, std::vector<int32_t> before, std::vector<int32_t> after) {
    auto request = MakeRequest(std::move(before), 4);
    AppendImage(image, request.get());
    request->prompt.token_ids = Concat(request->prompt.token_ids, after);
    Share(request.get());
    return Run(std::move(request));
  };
  const std::vector<int32_t> text = PromptOf(20, 2);
  FinishedEvent done = ask(3, text, PromptOf(20, 3));
  EXPECT_EQ(done.cache.images_encoded, 1);
  done = ask(3, text, PromptOf(9, 4));  // The rows of the picture are in the prefix.
  EXPECT_EQ(done.cache.images_in_prefix, 1);
  EXPECT_GE(done.cache.hit_tokens, 25);
  done = ask(3, PromptOf(7, 9), PromptOf(9, 4));  // Elsewhere, its features are.
  EXPECT_EQ(done.cache.feature_hits, 1);
  EXPECT_EQ(done.cache.hit_tokens, 0);
  done = ask(4, text, PromptOf(20, 3));  // Another picture at the same place.
  EXPECT_EQ(done.cache.images_encoded, 1);
  EXPECT_EQ(done.cache.hit_tokens, 20);
  EXPECT_EQ(done.cache.miss, CacheMiss::kDiverged);
  const CacheStats stats = Stats().cache;
  EXPECT_EQ(stats.tower_runs, 2u);
  EXPECT_EQ(stats.feature_hits, 1u);
}

TEST_F(PrefixSharingTest, SixtyFourAtOnceComputeThePrefixOnce) {
  constexpr int kSessions = 64;
  Build({.max_batch_tokens = 256,
         .prefill_chunk = 32,
         .max_running = kSessions,
         .feature_cache_memory = 1 << 20},
        4000);
  std::vector<std::shared_ptr<Recorder>> sinks;
  std::vector<std::vector<int32_t>> expected;
  for (int32_t i = 0; i < kSessions; ++i) {
    auto request = MakeRequest(PromptOf(9, 1), 3);
    AppendImage(5, request.get());
    request->prompt.token_ids = Concat(request->prompt.token_ids, PromptOf(178, 2));  // 192 rows.
    request->prompt.token_ids = Concat(request->prompt.token_ids, PromptOf(20, 100 + i));
    Share(request.get());
    expected.push_back(LonelyRun(SeenBy(request->prompt), 3));
    sinks.push_back(Submit(std::move(request)));
  }
  int32_t most_pages = 0;
  while (loop_->Step()) {
    clock_.Advance(absl::Milliseconds(1));
    most_pages = std::max(most_pages, 4000 - Stats().free_pages);
  }
  int64_t computed = 0;
  for (int32_t i = 0; i < kSessions; ++i) {
    ASSERT_TRUE(sinks[i]->finished.has_value()) << sinks[i]->status;
    EXPECT_EQ(sinks[i]->tokens[0], expected[i]);
    computed += sinks[i]->finished->cache.computed_tokens;
  }
  EXPECT_EQ(Stats().cache.tower_runs, 1u);
  EXPECT_LE(computed, 192 + kSessions * 20);
  EXPECT_LE(most_pages, (192 / 16 + kSessions * 2) * kLayers);
}

TEST_F(PrefixSharingTest, AWaiterTakesOverFromAComputerThatDies) {
  Build({.max_batch_tokens = 16, .prefill_chunk = 16, .max_running = 4}, 1000);
  auto leader = MakeShared(PromptOf(160, 1), 4);
  const auto handle = leader->handle;
  const auto dead = Submit(std::move(leader));
  const auto follower = Submit(MakeShared(Concat(PromptOf(160, 1), {5}), 4));
  for (int i = 0; i < 4; ++i) loop_->Step();
  EXPECT_FALSE(follower->started.has_value());  // It would compute what the leader computes.
  handle->stop = StopCause::kCancelled;
  RunToEnd();
  EXPECT_EQ(dead->status.code(), absl::StatusCode::kCancelled);
  ASSERT_TRUE(follower->finished.has_value()) << follower->status;
  // What the leader computed until then was published.
  EXPECT_GE(follower->finished->cache.hit_tokens, 64);
  EXPECT_EQ(follower->tokens[0], LonelyRun(Concat(PromptOf(160, 1), {5}), 4));
}

TEST_F(PrefixSharingTest, APreemptedRequestGoesOnAsIfNothingHadHappened) {
  // Two requests of 8 pages a layer each; the pool holds 12. Prompts whose answers are long.
  std::vector<std::vector<int32_t>> prompts;
  for (int32_t salt = 0; prompts.size() < 2; ++salt) {
    ASSERT_LT(salt, 1000);
    if (LonelyRun(PromptOf(20, salt), 100).size() == 100) prompts.push_back(PromptOf(20, salt));
  }
  Build({.max_running = 4}, 12 * kLayers);
  const auto older = Submit(MakeShared(prompts[0], 100));
  const auto younger = Submit(MakeShared(prompts[1], 100));
  RunToEnd();
  ASSERT_TRUE(older->finished && younger->finished);
  EXPECT_EQ(older->tokens[0], LonelyRun(prompts[0], 100));
  EXPECT_EQ(younger->tokens[0], LonelyRun(prompts[1], 100));
  EXPECT_EQ(older->finished->cache.preemptions, 0);
  EXPECT_GE(younger->finished->cache.preemptions, 1);
  EXPECT_EQ(Stats().preemptions, static_cast<uint64_t>(younger->finished->cache.preemptions));
  // What it had published and nobody evicted was not computed again.
  EXPECT_LT(younger->finished->usage.recomputed_tokens, 100);
}

TEST_F(PrefixSharingTest, ReceiptsAddUpToTheTotals) {
  Build({.max_running = 4}, 30 * kLayers);
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int32_t i = 0; i < 40; ++i) {
    sinks.push_back(Submit(MakeShared(Concat(PromptOf(30 + i % 3 * 16, 1), PromptOf(9, i)), 20)));
  }
  RunToEnd();
  uint64_t hits = 0, computed = 0, recomputed = 0;
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->finished.has_value()) << sink->status;
    hits += sink->finished->cache.hit_tokens;
    computed += sink->finished->cache.computed_tokens;
    recomputed += sink->finished->usage.recomputed_tokens;
    EXPECT_EQ(sink->finished->cache.hit_tokens + sink->finished->cache.computed_tokens,
              sink->finished->usage.prompt_tokens);
  }
  const EngineStats stats = Stats();
  EXPECT_EQ(stats.cache.text_hit_tokens, hits);
  EXPECT_EQ(stats.cache.text_query_tokens, hits + computed);
  EXPECT_EQ(stats.cache.computed_tokens, computed);
  EXPECT_EQ(stats.recomputed_tokens, recomputed);
  EXPECT_GT(hits, 0u);
}

}  // namespace
}  // namespace prefixd::testing
