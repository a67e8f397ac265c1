// Every family: streams say what they say alone, bit for bit, on pools that are too small; and 64
// tokens are the same, log-probabilities bit for bit, with a KV cache and without.
#include "tests/engine/schedule_bits.h"

namespace prefixd::testing {
namespace {

class FamilyBits : public ScheduleBits {
 protected:
  // Greedy, with log-probs, not sharing anything.
  std::vector<ChoiceBytes> Generate64(size_t spec, bool recompute_all) {
    Request request = family_[spec];
    request.sampling = {};
    request.retention = {};
    request.stopping = {.max_tokens = 64, .ignore_eos = true};
    request.output = {.logprobs = 3, .token_ids = true};
    request.bypass_prefix_cache = true;
    request.recompute_all = recompute_all;
    const Stream stream = Submit(spec, request, 0);
    RunToEnd();
    EXPECT_TRUE(stream.sink->finished.has_value()) << stream.sink->status;
    return stream.sink->choices;
  }
};

TEST_P(FamilyBits, SaysTheSameWithoutAKvCache) {
  BuildLoop({.max_batch_tokens = 32, .max_running = 4}, /*num_pages=*/1000);
  for (const size_t spec : {size_t{0}, size_t{5}, size_t{9}}) {
    SCOPED_TRACE(spec);
    const std::vector<ChoiceBytes> with = Generate64(spec, false);
    ASSERT_EQ(with.size(), 1u);
    ASSERT_EQ(with[0].ids.size(), 64u);
    EXPECT_TRUE(Generate64(spec, true) == with);
  }
}

class TextFamilyBits : public FamilyBits {};

TEST_P(TextFamilyBits, EveryStreamIsItsLonelyRun) {
  constexpr int kSchedules = 20;
  constexpr int kSchedulesPerLoop = 5;
  RunSchedules(0, kSchedules, kSchedulesPerLoop);
  if (HasFatalFailure()) return;
  EXPECT_GT(totals_.finished, 10 * kSchedules);
  EXPECT_GT(totals_.preemptions, 0);
  EXPECT_GT(totals_.hit_tokens, 10 * kSchedules);
  EXPECT_GT(totals_.selections, kSchedules);
  EXPECT_GT(totals_.drops, kSchedules);
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyBits,
                         ::testing::Values(Shape("tiny-llama"), Shape("tiny-gpt2"),
                                           Shape("tiny-mpt"), Shape("tiny-neox"),
                                           Shape("tiny-llava"), Shape("tiny-paligemma", false),
                                           Shape("tiny-openflamingo")),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Families, TextFamilyBits,
                         ::testing::Values(Shape("tiny-llama"), Shape("tiny-gpt2"),
                                           Shape("tiny-mpt"), Shape("tiny-neox")),
                         NameOf);

}  // namespace
}  // namespace prefixd::testing
