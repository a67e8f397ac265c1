#include "engine/classify/token_trie.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prefixd {
namespace {

using ::testing::ElementsAre;
using Sequences = std::vector<std::vector<int32_t>>;

std::vector<int32_t> TokensTo(const TokenTrie& trie, int32_t node) {
  std::vector<int32_t> tokens;
  for (; node != 0; node = trie.node(node).parent) tokens.push_back(trie.node(node).token);
  std::reverse(tokens.begin(), tokens.end());
  return tokens;
}

bool SameNodes(const TokenTrie& a, const TokenTrie& b) {
  return std::equal(a.nodes().begin(), a.nodes().end(), b.nodes().begin(), b.nodes().end(),
                    [](const TokenTrie::Node& x, const TokenTrie::Node& y) {
                      return x.token == y.token && x.parent == y.parent && x.depth == y.depth &&
                             x.end == y.end;
                    });
}

TEST(TokenTrie, WhatBeginsAlikeIsThereOnce) {
  const TokenTrie trie = TokenTrie::Build(Sequences{{7, 3}, {7, 1, 2}, {5}, {7, 1, 9}});
  // 0 root, 1 [5], 2 [7], 3 [7 1], 4 [7 1 2], 5 [7 1 9], 6 [7 3].
  ASSERT_EQ(trie.nodes().size(), 7u);
  EXPECT_THAT(trie.ends(), ElementsAre(6, 4, 1, 5));
  EXPECT_THAT(trie.ChildrenOf(0), ElementsAre(1, 2));
  EXPECT_THAT(trie.ChildrenOf(2), ElementsAre(3, 6));
  EXPECT_THAT(trie.ChildrenOf(3), ElementsAre(4, 5));
  EXPECT_THAT(trie.ChildrenOf(1), ElementsAre());
  EXPECT_EQ(trie.node(2).end, 7);
  EXPECT_EQ(trie.node(3).end, 6);
  EXPECT_EQ(trie.node(5).depth, 3);
  EXPECT_EQ(trie.num_internal(), 2);
  EXPECT_EQ(trie.num_tokens(), 9);
  EXPECT_EQ(trie.rows_one_by_one(), 5);
  EXPECT_EQ(trie.max_depth(), 3);
}

TEST(TokenTrie, SingleTokensNeedNoRow) {
  const TokenTrie trie = TokenTrie::Build(Sequences{{9}, {4}});
  EXPECT_EQ(trie.num_internal(), 0);
  EXPECT_EQ(trie.rows_one_by_one(), 0);
  EXPECT_THAT(trie.ends(), ElementsAre(2, 1));
}

TEST(TokenTrie, EqualSequencesShareTheirEnd) {
  const TokenTrie trie = TokenTrie::Build(Sequences{{1, 2}, {3}, {1, 2}});
  EXPECT_EQ(trie.nodes().size(), 4u);
  EXPECT_THAT(trie.ends(), ElementsAre(2, 3, 2));
}

TEST(TokenTrie, APrefixOfAnotherEndsAtAnInnerNode) {
  const TokenTrie trie = TokenTrie::Build(Sequences{{1, 2, 3}, {1, 2}, {1}});
  EXPECT_THAT(trie.ends(), ElementsAre(3, 2, 1));
  EXPECT_TRUE(trie.is_internal(2));
  EXPECT_FALSE(trie.is_internal(3));
  EXPECT_EQ(trie.num_internal(), 2);
}

TEST(TokenTrie, UnmergedEveryCandidateHasAChain) {
  const TokenTrie trie =
      TokenTrie::Build(Sequences{{2, 5}, {1}, {2, 5}, {2}, {1, 4, 4}}, TokenTrie::Merge::kNothing);
  // Chains [1], [1 4 4], [2], [2 5] of the first, [2 5] of the third.
  EXPECT_EQ(trie.nodes().size(), 10u);
  EXPECT_THAT(trie.ends(), ElementsAre(7, 1, 9, 5, 4));
  EXPECT_THAT(trie.ChildrenOf(0), ElementsAre(1, 2, 5, 6, 8));
  EXPECT_EQ(trie.num_internal(), 4);
  EXPECT_EQ(trie.num_internal(), trie.rows_one_by_one());
}

TEST(TokenTrie, NoSequencesLeaveTheRoot) {
  const TokenTrie trie = TokenTrie::Build(Sequences{});
  EXPECT_EQ(trie.nodes().size(), 1u);
  EXPECT_FALSE(trie.is_internal(0));
  EXPECT_EQ(trie.max_depth(), 0);
}

// Against a set of prefixes, and the order in which sequences come changes nothing but ends.
TEST(TokenTrie, RandomSequences) {
  std::mt19937 rng(8);
  for (int round = 0; round < 300; ++round) {
    Sequences sequences(1 + rng() % 30);
    for (auto& tokens : sequences) {
      tokens.resize(1 + rng() % 5);
      for (int32_t& token : tokens) token = static_cast<int32_t>(rng() % 4);
    }
    const TokenTrie trie = TokenTrie::Build(sequences);
    std::set<std::vector<int32_t>> prefixes, inner;
    for (const auto& tokens : sequences) {
      for (size_t n = 1; n <= tokens.size(); ++n) {
        prefixes.emplace(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n));
        if (n < tokens.size()) {
          inner.emplace(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n));
        }
      }
    }
    // Preorder with ascending children is the lexicographic order.
    ASSERT_EQ(trie.nodes().size(), prefixes.size() + 1);
    int32_t node = 1;
    for (const auto& prefix : prefixes) {
      EXPECT_EQ(TokensTo(trie, node), prefix);
      EXPECT_EQ(trie.node(node).depth, static_cast<int32_t>(prefix.size()));
      EXPECT_EQ(trie.is_internal(node), inner.count(prefix) == 1);
      ++node;
    }
    EXPECT_EQ(trie.num_internal(), static_cast<int32_t>(inner.size()));

    std::vector<size_t> order(sequences.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), rng);
    Sequences shuffled;
    for (const size_t k : order) shuffled.push_back(sequences[k]);
    const TokenTrie other = TokenTrie::Build(shuffled);
    ASSERT_TRUE(SameNodes(trie, other));
    for (size_t k = 0; k < order.size(); ++k) {
      EXPECT_EQ(TokensTo(trie, trie.ends()[k]), sequences[k]);
      EXPECT_EQ(other.ends()[k], trie.ends()[order[k]]);
    }
    const TokenTrie chains = TokenTrie::Build(sequences, TokenTrie::Merge::kNothing);
    EXPECT_TRUE(SameNodes(chains, TokenTrie::Build(shuffled, TokenTrie::Merge::kNothing)));
    EXPECT_EQ(static_cast<int64_t>(chains.nodes().size()) - 1, chains.num_tokens());
    for (size_t k = 0; k < order.size(); ++k) {
      EXPECT_EQ(TokensTo(chains, chains.ends()[k]), sequences[k]);
    }
  }
}

}  // namespace
}  // namespace prefixd
