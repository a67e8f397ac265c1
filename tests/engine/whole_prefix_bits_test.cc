// A model whose prompts see themselves: every stream says what it says alone, bit for bit, on pools
// that are too small.
#include "tests/engine/schedule_bits.h"

namespace prefixd::testing {
namespace {

class WholePrefixBits : public ScheduleBits {};

TEST_P(WholePrefixBits, EveryStreamIsItsLonelyRun) {
  constexpr int kSchedules = 40;
  constexpr int kSchedulesPerLoop = 5;
  RunSchedules(0, kSchedules, kSchedulesPerLoop);
  if (HasFatalFailure()) return;
  EXPECT_GT(totals_.finished, 10 * kSchedules);
  EXPECT_GT(totals_.preemptions, 0);
  EXPECT_GT(totals_.hit_tokens, 10 * kSchedules);
  EXPECT_GT(totals_.feature_hits, kSchedules);
  // Whole prompts are kept as snapshots.
  EXPECT_GT(totals_.snapshot_hits, kSchedules);
  EXPECT_GT(totals_.snapshots_evicted, kSchedules);
  EXPECT_GT(totals_.drops, 10 * kSchedules);
}

INSTANTIATE_TEST_SUITE_P(PaliGemma, WholePrefixBits,
                         ::testing::Values(ScheduleVariant{.name = "bf16WeightsF32Kv",
                                                           .weights = DType::kBF16,
                                                           .kv = DType::kF32,
                                                           .threads = 2,
                                                           .shape = "tiny-paligemma",
                                                           .shares_parts = false}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace prefixd::testing
