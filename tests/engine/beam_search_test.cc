// Beam search against a search that keeps whole sequences, and beam requests in the step loop.
#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "tests/engine/step_loop_fixture.h"

namespace prefixd::testing {
namespace {

constexpr int kVocab = 11;
constexpr int32_t kEnd = 0;

// The log-probabilities of what follows `tokens`: made up, the same every time.
std::vector<double> Follow(const std::vector<int32_t>& tokens) {
  uint32_t seed = 17;
  for (const int32_t token : tokens) seed = seed * 31 + static_cast<uint32_t>(token) + 1;
  std::mt19937 random(seed);
  std::vector<double> values(kVocab);
  double sum = 0;
  for (double& value : values) {
    value = std::generate_canonical<double, 53>(random) + 1e-3;
    sum += value;
  }
  for (double& value : values) value = std::log(value / sum);
  return values;
}

// The reference's procedure over whole sequences, with every continuation of every beam at hand.
std::vector<BeamSearch::Hypothesis> Searched(size_t beams, double penalty, size_t max_tokens) {
  struct Sequence {
    std::vector<int32_t> tokens;
    double sum;
  };
  std::vector<Sequence> running = {{{}, 0}};
  std::vector<BeamSearch::Hypothesis> complete;
  const auto worth = [penalty](const Sequence& sequence) {
    return sequence.sum / std::pow(static_cast<double>(sequence.tokens.size()), penalty);
  };
  for (size_t length = 1; length <= max_tokens; ++length) {
    std::vector<Sequence> all;
    for (const Sequence& sequence : running) {
      const std::vector<double> follow = Follow(sequence.tokens);
      for (int32_t token = 0; token < kVocab; ++token) {
        all.push_back({sequence.tokens, sequence.sum + follow[token]});
        all.back().tokens.push_back(token);
      }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Sequence& a, const Sequence& b) { return a.sum > b.sum; });
    running.clear();
    for (size_t rank = 0; rank < all.size(); ++rank) {
      const bool ended = all[rank].tokens.back() == kEnd;
      if (ended || length == max_tokens) {
        if (rank < beams) complete.push_back({all[rank].tokens, worth(all[rank]), ended});
      } else if (running.size() < beams) {
        running.push_back(all[rank]);
      }
    }
    std::stable_sort(complete.begin(), complete.end(),
                     [](const auto& a, const auto& b) { return a.worth > b.worth; });
    if (complete.size() > beams) complete.resize(beams);
    if (complete.size() == beams && worth(running[0]) <= complete.back().worth) break;
  }
  return complete;
}

TEST(BeamSearchTest, FindsWhatASearchOverWholeSequencesFinds) {
  for (const int beams : {2, 3, 5}) {
    for (const double penalty : {0.0, 1.0, -0.5, 2.0}) {
      for (const int32_t max_tokens : {1, 2, 7, 20}) {
        SCOPED_TRACE(::testing::Message() << beams << " " << penalty << " " << max_tokens);
        BeamSearch search(beams, penalty, max_tokens);
        std::vector<std::vector<int32_t>> alive = {{}};
        while (!search.over()) {
          std::vector<std::vector<BeamSearch::Candidate>> candidates;
          for (const auto& tokens : alive) {
            const std::vector<double> follow = Follow(tokens);
            std::vector<BeamSearch::Candidate>& list = candidates.emplace_back();
            for (int32_t token = 0; token < kVocab; ++token) list.push_back({token, follow[token]});
            std::stable_sort(list.begin(), list.end(),
                             [](const auto& a, const auto& b) { return a.logprob > b.logprob; });
          }
          std::vector<std::vector<int32_t>> next;
          for (const auto& beam : search.Advance(candidates, [](int32_t t) { return t == kEnd; })) {
            next.push_back(alive[beam.parent]);
            next.back().push_back(beam.token);
          }
          alive = std::move(next);
        }
        const auto expected = Searched(beams, penalty, max_tokens);
        const auto found = search.Best(false);
        ASSERT_EQ(found.size(), expected.size());
        for (size_t i = 0; i < found.size(); ++i) {
          EXPECT_EQ(found[i].tokens, expected[i].tokens) << i;
          EXPECT_NEAR(found[i].worth, expected[i].worth, 1e-12) << i;
          EXPECT_EQ(found[i].ended, expected[i].ended) << i;
        }
      }
    }
  }
}

class BeamRequestTest : public StepLoopTest {
 protected:
  std::unique_ptr<ActiveRequest> MakeBeams(std::vector<int32_t> prompt, int beams, int choices,
                                           int32_t max_tokens) {
    auto request = MakeRequest(std::move(prompt), max_tokens);
    request->request.sampling.num_beams = beams;
    request->request.output.num_choices = choices;
    return request;
  }
};

// The fake's next token has all the mass, so that the best hypothesis is the greedy answer.
TEST_F(BeamRequestTest, TheBestBeamOfACertainModelIsItsGreedyAnswer) {
  Build({.max_running = 16}, 1000);
  for (const int32_t salt : {1, 2, 3, 4}) {
    const std::vector<int32_t> greedy = LonelyRun(PromptOf(37, salt), 9);
    const auto sink = Submit(MakeBeams(PromptOf(37, salt), 3, 2, 9));
    RunToEnd();
    ASSERT_TRUE(sink->finished.has_value()) << sink->status;
    ASSERT_EQ(sink->finishes.size(), 2u);
    EXPECT_EQ(sink->tokens[0], greedy);
    EXPECT_NE(sink->tokens[1], greedy);
    EXPECT_EQ(sink->finished->usage.completion_tokens,
              static_cast<int32_t>(sink->tokens[0].size() + sink->tokens[1].size()));
  }
}

// Beams hold their KV through forks: with little room they are preempted, and answer the same.
TEST_F(BeamRequestTest, PreemptedBeamsAnswerTheSame) {
  Build({.max_running = 16}, 1000);
  std::vector<std::vector<std::vector<int32_t>>> alone;
  for (const int32_t salt : {1, 2, 3}) {
    const auto sink = Submit(MakeBeams(PromptOf(30, salt), 4, 3, 24));
    RunToEnd();
    ASSERT_TRUE(sink->finished.has_value()) << sink->status;
    alone.push_back(sink->tokens);
  }
  Build({.max_batch_tokens = 16, .max_running = 16}, /*num_pages=*/40);
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (const int32_t salt : {1, 2, 3}) {
    auto request = MakeBeams(PromptOf(30, salt), 4, 3, 24);
    Share(request.get());
    sinks.push_back(Submit(std::move(request)));
  }
  for (int step = 0; step < 9; ++step) ASSERT_TRUE(loop_->Step());
  auto urgent = MakeRequest(PromptOf(190, 9), 2);  // Takes almost all pages.
  urgent->request.priority = 1;
  const auto first = Submit(std::move(urgent));
  RunToEnd();
  EXPECT_TRUE(first->finished.has_value()) << first->status;
  for (size_t i = 0; i < sinks.size(); ++i) {
    ASSERT_TRUE(sinks[i]->finished.has_value()) << sinks[i]->status;
    EXPECT_EQ(sinks[i]->tokens, alone[i]) << i;
  }
  EXPECT_GT(Stats().preemptions, 0u);
}

TEST_F(BeamRequestTest, WhatDoesNotGoTogetherIsRefused) {
  Build({.max_running = 16}, 1000);
  const auto refused = [this](const std::function<void(Request*)>& change) {
    auto request = MakeBeams(PromptOf(10, 1), 3, 1, 4);
    change(&request->request);
    return absl::IsInvalidArgument(Submit(std::move(request))->status);
  };
  EXPECT_TRUE(refused([](Request* r) { r->output.num_choices = 4; }));
  EXPECT_TRUE(refused([](Request* r) { r->sampling.temperature = 1.0f; }));
  EXPECT_TRUE(refused([](Request* r) { r->sampling.presence_penalty = 1.0f; }));
  EXPECT_TRUE(refused([](Request* r) { r->output.logprobs = 1; }));
  EXPECT_TRUE(refused([](Request* r) { r->stopping.stop = {"x"}; }));
  EXPECT_TRUE(refused([](Request* r) { r->recompute_all = true; }));
  EXPECT_TRUE(refused([](Request* r) { r->retention.budget = 0.5; }));
}

TEST_F(BeamRequestTest, ASoftTimeLimitReturnsTheBestSoFar) {
  Build({.max_running = 16}, 1000);
  auto request = MakeBeams(PromptOf(10, 1), 3, 1, 400);
  request->request.stopping.soft_time_limit = absl::Milliseconds(5);
  request->request.stopping.ignore_eos = true;
  const auto sink = Submit(std::move(request));
  RunToEnd();
  ASSERT_TRUE(sink->finished.has_value()) << sink->status;
  ASSERT_EQ(sink->finishes.size(), 1u);
  EXPECT_EQ(sink->finishes[0].reason, FinishReason::kTimeLimit);
  EXPECT_GE(sink->tokens[0].size(), 2u);
}

}  // namespace
}  // namespace prefixd::testing
