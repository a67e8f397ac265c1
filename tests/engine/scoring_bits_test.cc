// Requests that score names and prompts, among those that generate: every score is that of its
// lonely run, bit for bit, and so is every stream beside them, on pools that are too small.
#include <cstdlib>

#include "engine/classify/token_trie.h"
#include "tests/engine/schedule_bits.h"

namespace prefixd::testing {
namespace {

constexpr int32_t kFirstByte = 5, kNumBytes = 256;

class ScoringBits : public ScheduleBits {
 protected:
  // Every other one scores: some the prompt too, some a row a step.
  void ChangeFamily() override {
    random_.seed(5);
    for (size_t i = 0; i < family_.size(); ++i) {
      if (i % 2 != 0) continue;
      Request& request = family_[i];
      request = Request{.input = std::move(request.input)};
      request.scoring.emplace();
      request.scoring->prompt_logprobs = Chance(0.4);
      if (request.scoring->prompt_logprobs && Chance(0.3)) continue;
      request.scoring->one_at_a_time = Chance(0.2);
      request.scoring->candidates = std::make_shared<const TokenTrie>(TokenTrie::Build(
          Candidates(), request.scoring->one_at_a_time ? TokenTrie::Merge::kNothing
                                                       : TokenTrie::Merge::kPrefixes));
    }
  }

  // Common beginnings, equal ones, ones that begin another, single tokens.
  std::vector<std::vector<int32_t>> Candidates() {
    std::vector<std::vector<int32_t>> candidates;
    const int count = Chance(0.3) ? Draw(40, 120) : Draw(2, 12);
    for (int k = 0; k < count; ++k) {
      std::vector<int32_t> tokens;
      if (!candidates.empty() && Chance(0.6)) {
        tokens = candidates[static_cast<size_t>(Draw(0, k - 1))];
        tokens.resize(static_cast<size_t>(Draw(0, static_cast<int32_t>(tokens.size()))));
      }
      const size_t length = tokens.size() + static_cast<size_t>(Draw(tokens.empty() ? 1 : 0, 6));
      while (tokens.size() < length) tokens.push_back(kFirstByte + Draw(0, kNumBytes - 1));
      candidates.push_back(std::move(tokens));
    }
    return candidates;
  }
};

TEST_P(ScoringBits, EveryScoreIsThatOfItsLonelyRun) {
  const char* seeds = std::getenv("PREFIXD_SCHEDULE_SEEDS");
  const int kSchedules = seeds != nullptr ? std::atoi(seeds) : 20;
  constexpr int kSchedulesPerLoop = 5;
  RunSchedules(0, kSchedules, kSchedulesPerLoop);
  if (HasFatalFailure()) return;
  EXPECT_GT(totals_.finished, 10 * kSchedules);
  EXPECT_GT(totals_.scored, 3 * kSchedules);
  EXPECT_GT(totals_.context_hits, kSchedules / 10);
  EXPECT_GT(totals_.preemptions, 0);
  EXPECT_GT(totals_.hit_tokens, 10 * kSchedules);
}

INSTANTIATE_TEST_SUITE_P(Families, ScoringBits,
                         ::testing::Values(Shape("tiny-llama"), Shape("tiny-gpt2"),
                                           Shape("tiny-mpt"), Shape("tiny-neox"),
                                           Shape("tiny-llava"), Shape("tiny-paligemma", false),
                                           Shape("tiny-openflamingo")),
                         NameOf);

}  // namespace
}  // namespace prefixd::testing
