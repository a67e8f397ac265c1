// The walk against a model without a trie: scores from tables of prefixes, a full ranking, and a
// memory of slots that says whose keys each holds.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "engine/classify/ranking.h"
#include "engine/classify/trie_walk.h"

namespace prefixd {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kCases = 1000;
#else
constexpr int kCases = 10000;
#endif

using Tokens = std::vector<int32_t>;
using Sequences = std::vector<Tokens>;

// A language model: the log-prob of a token behind the tokens before it.
class Model {
 public:
  // Of few values: many candidates tie.
  Model(uint32_t seed, bool few_values) : rng_(seed), few_values_(few_values) {}

  float LogprobOf(const Tokens& tokens) {
    const auto [it, is_new] = logprobs_.try_emplace(tokens, 0.0f);
    if (is_new) {
      it->second = few_values_ ? -0.5f * static_cast<float>(rng_() % 4)
                               : -std::exponential_distribution<float>(0.4f)(rng_);
    }
    return it->second;
  }
  double SumOf(const Tokens& tokens) {
    double sum = 0;
    for (size_t n = 1; n <= tokens.size(); ++n) {
      sum += static_cast<double>(
          LogprobOf(Tokens(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n))));
    }
    return sum;
  }

 private:
  std::map<Tokens, float> logprobs_;
  std::mt19937 rng_;
  const bool few_values_;
};

Sequences RandomSequences(std::mt19937* rng) {
  std::mt19937& random = *rng;
  const uint32_t vocabulary = 1 + random() % 6;
  const size_t longest = 1 + random() % 6;
  Sequences sequences(2 + random() % (random() % 4 == 0 ? 80 : 12));
  for (size_t k = 0; k < sequences.size(); ++k) {
    Tokens& tokens = sequences[k];
    if (k > 0 && random() % 4 == 0) tokens = sequences[random() % k];  // A copy, or longer.
    const size_t more = tokens.empty() ? 1 + random() % longest : random() % 3;
    for (size_t i = 0; i < more; ++i) tokens.push_back(static_cast<int32_t>(random() % vocabulary));
  }
  return sequences;
}

// Does what the step loop does, and checks what it relies on.
class Runner {
 public:
  Runner(const TokenTrie& trie, const TrieWalk::Options& options, Model* model)
      : trie_(trie), walk_(&trie, options), model_(*model), limit_(options) {
    holds_.assign(static_cast<size_t>(options.num_slots), -1);
  }

  // `rewind_one_in`: 0: never.
  void Run(std::mt19937* rng, uint32_t rewind_one_in) {
    std::mt19937& random = *rng;
    Answer(0);
    int64_t budget = trie_.num_internal();
    for (int rewinds = 0; !walk_.done();) {
      const int32_t max_rows = 1 + static_cast<int32_t>(random() % (random() % 2 == 0 ? 4 : 50));
      const int32_t ready = walk_.NumReady(max_rows);
      ASSERT_GT(ready, 0);
      ASSERT_LE(ready, max_rows);
      const TrieWalk::Rows rows = walk_.Take(max_rows);
      ASSERT_EQ(static_cast<int32_t>(rows.nodes.size()), ready);
      ASSERT_NO_FATAL_FAILURE(Check(rows));
      ASSERT_LE(walk_.num_taken(), budget);
      std::vector<int32_t> order = rows.nodes;
      std::shuffle(order.begin(), order.end(), random);
      const bool rewind = rewind_one_in > 0 && rewinds < 20 && random() % rewind_one_in == 0;
      if (rewind) order.resize(random() % (order.size() + 1));
      for (const int32_t node : order) Answer(node);
      if (!rewind) continue;
      walk_.Rewind();
      std::fill(holds_.begin(), holds_.end(), -1);
      budget += trie_.num_internal();
      ++rewinds;
    }
    EXPECT_EQ(walk_.NumReady(100), 0);
  }

  const TrieWalk& walk() const { return walk_; }

 private:
  Tokens TokensTo(int32_t node) const {
    Tokens tokens;
    for (; node != 0; node = trie_.node(node).parent) tokens.push_back(trie_.node(node).token);
    std::reverse(tokens.begin(), tokens.end());
    return tokens;
  }

  void Answer(int32_t node) {
    Tokens tokens = TokensTo(node);
    std::vector<float> logprobs;
    for (const int32_t child : trie_.ChildrenOf(node)) {
      tokens.push_back(trie_.node(child).token);
      logprobs.push_back(model_.LogprobOf(tokens));
      tokens.pop_back();
    }
    walk_.SetChildLogprobs(node, logprobs);
  }

  // Every row finds its ancestors' keys where its path says, after all rows of the batch wrote
  // theirs: so no slot is given out that somebody still reads.
  void Check(const TrieWalk::Rows& rows) {
    if (limit_.one_at_a_time) {
      ASSERT_EQ(rows.nodes.size(), 1u);
    }
    if (limit_.top != nullptr) {
      ASSERT_LE(static_cast<int32_t>(rows.nodes.size()), TrieWalk::kSearchRows);
    }
    std::set<int32_t> written;
    for (size_t i = 0; i < rows.nodes.size(); ++i) {
      ASSERT_GE(rows.slot(i), 0);
      ASSERT_LT(rows.slot(i), static_cast<int32_t>(holds_.size()));
      ASSERT_TRUE(written.insert(rows.slot(i)).second);
      ASSERT_TRUE(trie_.is_internal(rows.nodes[i]));
      for (int32_t at = trie_.node(rows.nodes[i]).parent; at != 0; at = trie_.node(at).parent) {
        ASSERT_EQ(
            std::count(rows.nodes.begin() + static_cast<std::ptrdiff_t>(i), rows.nodes.end(), at),
            0);
      }
      holds_[static_cast<size_t>(rows.slot(i))] = rows.nodes[i];
    }
    for (size_t i = 0; i < rows.nodes.size(); ++i) {
      int32_t at = rows.nodes[i];
      ASSERT_EQ(rows.path_begins[i + 1] - rows.path_begins[i], trie_.node(at).depth);
      for (int32_t p = rows.path_begins[i + 1]; p-- > rows.path_begins[i];) {
        const int32_t slot = rows.path_slots[static_cast<size_t>(p)];
        ASSERT_EQ(holds_[static_cast<size_t>(slot)], at);
        at = trie_.node(at).parent;
      }
    }
  }

  const TokenTrie& trie_;
  TrieWalk walk_;
  Model& model_;
  const TrieWalk::Options limit_;
  std::vector<int32_t> holds_;  // By slot: the node whose keys it has; -1: nobody's.
};

TopSearch RandomScale(const Sequences& sequences, Model* null_model, std::mt19937* rng) {
  std::mt19937& random = *rng;
  TopSearch scale;
  const uint32_t kind = random() % 5;
  for (const Tokens& tokens : sequences) {
    const bool mean = kind == 1 || kind == 4;
    if (mean) scale.divisors.push_back(static_cast<double>(tokens.size()));
    if (kind == 2) scale.divisors.push_back(static_cast<double>(1 + random() % 20));  // Bytes.
    if (kind >= 3) scale.offsets.push_back(null_model->SumOf(tokens));
  }
  scale.k = 1 + static_cast<int32_t>(random() % (sequences.size() + 2));
  if (random() % 2 == 0) scale.k = 1 + static_cast<int32_t>(random() % 3);
  return scale;
}

int32_t RandomSlots(const TokenTrie& trie, std::mt19937* rng) {
  const int32_t least = TrieWalk::SlotsFor(trie, 1);
  const int32_t most = TrieWalk::SlotsFor(trie, 60);
  if ((*rng)() % 3 == 0) return least;
  return least + static_cast<int32_t>((*rng)() % static_cast<uint32_t>(most - least + 1));
}

std::vector<double> FullScores(const Sequences& sequences, const TopSearch& scale, Model* model) {
  std::vector<double> scores;
  for (size_t k = 0; k < sequences.size(); ++k) {
    double score = model->SumOf(sequences[k]);
    if (!scale.offsets.empty()) score -= scale.offsets[k];
    if (!scale.divisors.empty()) score /= scale.divisors[k];
    scores.push_back(score);
  }
  return scores;
}

TEST(TrieWalkProperty, ASearchFindsTheBestOfTheFullRanking) {
  int64_t taken = 0, all = 0;
  for (uint32_t seed = 0; seed < kCases; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 rng(seed);
    const Sequences sequences = RandomSequences(&rng);
    const TokenTrie trie = TokenTrie::Build(
        sequences, rng() % 8 == 0 ? TokenTrie::Merge::kNothing : TokenTrie::Merge::kPrefixes);
    const bool few_values = rng() % 2 == 0;
    Model model(seed + 1, few_values);
    Model null_model(seed + 2, few_values);
    const TopSearch scale = RandomScale(sequences, &null_model, &rng);
    const uint32_t rewind_one_in = rng() % 3 == 0 ? 3 : 0;
    Runner runner(
        trie,
        {.num_slots = RandomSlots(trie, &rng), .one_at_a_time = rng() % 10 == 0, .top = &scale},
        &model);
    ASSERT_NO_FATAL_FAILURE(runner.Run(&rng, rewind_one_in));

    const std::vector<double> full = FullScores(sequences, scale, &model);
    std::vector<int32_t> wanted(full.size());
    for (size_t k = 0; k < full.size(); ++k) wanted[k] = static_cast<int32_t>(k);
    std::stable_sort(wanted.begin(), wanted.end(), [&full](int32_t a, int32_t b) {
      return full[static_cast<size_t>(a)] > full[static_cast<size_t>(b)];
    });
    wanted.resize(std::min(wanted.size(), static_cast<size_t>(scale.k)));
    const std::vector<double> scores = ScoresOf(PathSums(trie, runner.walk().logprobs()), scale);
    ASSERT_EQ(BestOf(scores, scale.k), wanted);
    for (size_t k = 0; k < full.size(); ++k) {
      ASSERT_TRUE(std::isnan(scores[k]) || scores[k] == full[k]) << k;
    }
    if (rewind_one_in == 0) {
      taken += runner.walk().num_taken();
      all += trie.num_internal();
    }
  }
  EXPECT_LT(taken, all * 9 / 10);  // And it does leave out.
}

TEST(TrieWalkProperty, AllCandidatesAreScoredWithARowForEachInternalNode) {
  for (uint32_t seed = 0; seed < kCases / 4; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 rng(seed);
    const Sequences sequences = RandomSequences(&rng);
    const TokenTrie trie = TokenTrie::Build(
        sequences, rng() % 4 == 0 ? TokenTrie::Merge::kNothing : TokenTrie::Merge::kPrefixes);
    Model model(seed, false);
    const uint32_t rewind_one_in = rng() % 3 == 0 ? 3 : 0;
    Runner runner(trie, {.num_slots = RandomSlots(trie, &rng), .one_at_a_time = rng() % 5 == 0},
                  &model);
    ASSERT_NO_FATAL_FAILURE(runner.Run(&rng, rewind_one_in));
    if (rewind_one_in == 0) {
      ASSERT_EQ(runner.walk().num_taken(), trie.num_internal());
    }
    const std::vector<double> sums = PathSums(trie, runner.walk().logprobs());
    for (size_t k = 0; k < sums.size(); ++k) ASSERT_EQ(sums[k], model.SumOf(sequences[k]));
  }
}

// Where there are enough slots for it, every batch but the last is full.
TEST(TrieWalkProperty, WithSlotsForItEveryBatchOfAllCandidatesIsFull) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 rng(seed);
    const TokenTrie trie = TokenTrie::Build(RandomSequences(&rng));
    const int32_t max_rows = 1 + static_cast<int32_t>(rng() % 20);
    TrieWalk walk(&trie, {.num_slots = TrieWalk::SlotsFor(trie, max_rows)});
    walk.SetChildLogprobs(0, std::vector<float>(trie.ChildrenOf(0).size(), -1));
    int32_t batches = 0;
    while (!walk.done()) {
      const TrieWalk::Rows rows = walk.Take(max_rows);
      ASSERT_FALSE(rows.nodes.empty());
      for (const int32_t node : rows.nodes) {
        walk.SetChildLogprobs(node, std::vector<float>(trie.ChildrenOf(node).size(), -1));
      }
      ++batches;
    }
    EXPECT_EQ(batches, (trie.num_internal() + max_rows - 1) / max_rows);
  }
}

}  // namespace
}  // namespace prefixd
