#include "engine/classify/trie_walk.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/classify/ranking.h"

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using Sequences = std::vector<std::vector<int32_t>>;

// Nodes: 0 root, 1 [1], 2 [1 1], 3 [1 1 1], 4 [1 2], 5 [2], 6 [2 1], 7 [3].
const Sequences kSequences = {{1, 1, 1}, {1, 2}, {2, 1}, {3}};

TEST(TrieWalk, NothingGoesBeforeTheRootIsScored) {
  const TokenTrie trie = TokenTrie::Build(kSequences);
  TrieWalk walk(&trie, {.num_slots = 3});
  EXPECT_EQ(walk.NumReady(10), 0);
  EXPECT_FALSE(walk.done());
  walk.SetChildLogprobs(0, {-1, -2, -3});
  EXPECT_EQ(walk.NumReady(10), 3);
  EXPECT_EQ(walk.NumReady(2), 2);
  EXPECT_EQ(walk.NumReady(0), 0);
}

TEST(TrieWalk, AllCandidatesGoInPreorderWithTheirPaths) {
  const TokenTrie trie = TokenTrie::Build(kSequences);
  TrieWalk walk(&trie, {.num_slots = TrieWalk::SlotsFor(trie, 10)});
  walk.SetChildLogprobs(0, {-1, -2, -3});
  const TrieWalk::Rows& rows = walk.Take(10);
  EXPECT_THAT(rows.nodes, ElementsAre(1, 2, 5));
  EXPECT_THAT(rows.path_begins, ElementsAre(0, 1, 3, 4));
  EXPECT_THAT(rows.path_slots, ElementsAre(rows.slot(0), rows.slot(0), rows.slot(1), rows.slot(2)));
  EXPECT_FALSE(walk.done());
  EXPECT_EQ(walk.NumReady(10), 0);  // Scores are awaited.
  walk.SetChildLogprobs(5, {-0.5f});
  walk.SetChildLogprobs(1, {-0.25f, -4});
  walk.SetChildLogprobs(2, {-8});
  EXPECT_TRUE(walk.done());
  EXPECT_EQ(walk.num_taken(), 3);
  EXPECT_TRUE(std::isnan(walk.logprobs()[0]));
  EXPECT_THAT(walk.logprobs().subspan(1), ElementsAre(-1, -0.25f, -8, -4, -2, -0.5f, -3));
}

TEST(TrieWalk, SingleTokensAreDoneWithTheRoot) {
  const TokenTrie trie = TokenTrie::Build(Sequences{{1}, {2}});
  EXPECT_EQ(TrieWalk::SlotsFor(trie, 10), 0);
  const TopSearch top;
  for (const TopSearch* search : {static_cast<const TopSearch*>(nullptr), &top}) {
    TrieWalk walk(&trie, {.num_slots = 0, .top = search});
    walk.SetChildLogprobs(0, {-1, -2});
    EXPECT_TRUE(walk.done());
    EXPECT_EQ(walk.Take(10).nodes.size(), 0u);
  }
}

TEST(TrieWalk, OneAtATime) {
  const TokenTrie trie = TokenTrie::Build(kSequences);
  TrieWalk walk(&trie, {.num_slots = TrieWalk::SlotsFor(trie, 1), .one_at_a_time = true});
  walk.SetChildLogprobs(0, {-1, -2, -3});
  EXPECT_THAT(walk.Take(10).nodes, ElementsAre(1));
  walk.SetChildLogprobs(1, {-1, -1});
  EXPECT_THAT(walk.Take(10).nodes, ElementsAre(2));
  walk.SetChildLogprobs(2, {-1});
  EXPECT_THAT(walk.Take(10).nodes, ElementsAre(5));
  walk.SetChildLogprobs(5, {-1});
  EXPECT_TRUE(walk.done());
}

TEST(TrieWalk, ASearchLeavesOutWhatCannotBeAmongTheBest) {
  const TokenTrie trie = TokenTrie::Build(kSequences);
  const TopSearch top = {.k = 1, .offsets = {}, .divisors = {}};
  TrieWalk walk(&trie, {.num_slots = 3, .top = &top});
  walk.SetChildLogprobs(0, {-1, -4, -3});
  EXPECT_THAT(walk.Take(10).nodes, ElementsAre(1));  // [3] has -3 already, so [2] is out.
  walk.SetChildLogprobs(1, {-1.5f, -1});             // [1 2] has -2; [1 1] has -2.5: out.
  EXPECT_TRUE(walk.done());
  EXPECT_EQ(walk.num_taken(), 1);
  const std::vector<double> sums = PathSums(trie, walk.logprobs());
  EXPECT_THAT(BestOf(sums, 1), ElementsAre(1));
  EXPECT_TRUE(std::isnan(sums[0]) && std::isnan(sums[2]));
}

TEST(TrieWalk, ASearchKeepsWhatMayTie) {
  const TokenTrie trie = TokenTrie::Build(Sequences{{1, 1}, {2}});
  const TopSearch top = {.k = 1, .offsets = {}, .divisors = {}};
  TrieWalk walk(&trie, {.num_slots = 1, .top = &top});
  walk.SetChildLogprobs(0, {-2, -2});
  EXPECT_THAT(walk.Take(10).nodes, ElementsAre(1));
  walk.SetChildLogprobs(1, {0});  // Its sum is the same, its index lower.
  EXPECT_TRUE(walk.done());
  EXPECT_THAT(BestOf(PathSums(trie, walk.logprobs()), 1), ElementsAre(0));
}

TEST(TrieWalk, AnUnlikelyNameBeginningWithALikelyOneOfLargerLengthIsKept) {
  // Means: a long name may still climb above a short one, as its divisor is larger.
  const TokenTrie trie = TokenTrie::Build(Sequences{{1, 1, 1, 1}, {2}});
  const TopSearch top = {.k = 1, .offsets = {}, .divisors = {4, 1}};
  TrieWalk walk(&trie, {.num_slots = TrieWalk::SlotsFor(trie, 1), .top = &top});
  walk.SetChildLogprobs(0, {-3.5f, -1});
  EXPECT_THAT(walk.Take(10).nodes, ElementsAre(1));
  walk.SetChildLogprobs(1, {-0.75f});  // -4.25 / 4 < -1.
  EXPECT_TRUE(walk.done());
}

TEST(TrieWalk, ABatchOfASearchIsSmall) {
  Sequences sequences;
  for (int32_t i = 0; i < 100; ++i) sequences.push_back({i, 0});
  const TokenTrie trie = TokenTrie::Build(sequences);
  const TopSearch top = {.k = 100, .offsets = {}, .divisors = {}};
  TrieWalk walk(&trie, {.num_slots = TrieWalk::SlotsFor(trie, 1000), .top = &top});
  std::vector<float> logprobs;
  for (int i = 0; i < 100; ++i) logprobs.push_back(-static_cast<float>((i * 37) % 100));
  walk.SetChildLogprobs(0, logprobs);
  const TrieWalk::Rows& rows = walk.Take(1000);
  ASSERT_EQ(static_cast<int32_t>(rows.nodes.size()), TrieWalk::kSearchRows);
  for (const int32_t node : rows.nodes) {  // The likeliest.
    EXPECT_GT(logprobs[static_cast<size_t>(trie.node(node).token)], -TrieWalk::kSearchRows);
  }
}

TEST(TrieWalk, AfterRewindOnlyOpenSubtreesGoAgain) {
  const TokenTrie trie = TokenTrie::Build(kSequences);
  TrieWalk walk(&trie, {.num_slots = 3});
  walk.SetChildLogprobs(0, {-1, -2, -3});
  EXPECT_THAT(walk.Take(2).nodes, ElementsAre(1, 2));
  walk.SetChildLogprobs(1, {-1, -1});
  walk.Rewind();  // The scores of 2 never came.
  EXPECT_THAT(walk.Take(1).nodes, ElementsAre(1));
  walk.SetChildLogprobs(1, {-9, -9});  // Known already.
  EXPECT_EQ(walk.logprobs()[2], -1);
  EXPECT_THAT(walk.Take(1).nodes, ElementsAre(2));
  walk.SetChildLogprobs(2, {-1});
  walk.Rewind();
  EXPECT_THAT(walk.Take(9).nodes, ElementsAre(5));
  walk.SetChildLogprobs(5, {-1});
  EXPECT_TRUE(walk.done());
  EXPECT_EQ(walk.num_taken(), 5);
  walk.Rewind();
  EXPECT_TRUE(walk.done());
}

TEST(TrieWalk, WhatRoundingPutAboveZeroIsZero) {
  const TokenTrie trie = TokenTrie::Build(Sequences{{1}, {2}});
  TrieWalk walk(&trie, {.num_slots = 0});
  walk.SetChildLogprobs(0, {1e-7f, -20});
  EXPECT_EQ(walk.logprobs()[1], 0.0f);
}

}  // namespace
}  // namespace prefixd
