// Every stream on the CPU's best level says what it says alone, bit for bit.
//
// PREFIXD_SCHEDULE_SEEDS sets the number of schedules, PREFIXD_SCHEDULE_FIRST the first one.
#include "tests/engine/schedule_bits.h"

#include <cstdlib>

namespace prefixd::testing {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSchedules = 100;  // Several times slower, and about memory, not bits.
#else
constexpr int kSchedules = 200;
#endif
constexpr int kSchedulesPerLoop = 5;

int FromEnvironment(const char* name, int value) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::atoi(text) : value;
}

TEST_P(ScheduleBits, EveryStreamIsItsLonelyRun) {
  const int count = FromEnvironment("PREFIXD_SCHEDULE_SEEDS", kSchedules) / 2;  // Two variants.
  const int first = FromEnvironment("PREFIXD_SCHEDULE_FIRST", 0);
  RunSchedules(first, count, kSchedulesPerLoop);
  if (HasFatalFailure()) return;
  const uint64_t schedules = static_cast<uint64_t>(count);
  EXPECT_GT(totals_.finished, 10 * schedules);
  EXPECT_GT(totals_.preemptions, schedules);
  EXPECT_GT(totals_.recomputed, schedules);
  EXPECT_GT(totals_.hit_tokens, 100 * schedules);
  EXPECT_GT(totals_.feature_hits, schedules / 10);
  EXPECT_GT(totals_.evicted, 10 * schedules);
  EXPECT_GT(totals_.collisions, 0);
  EXPECT_GT(totals_.selections, 2 * schedules);
  EXPECT_GT(totals_.drops, 10 * schedules);
  EXPECT_GT(totals_.snapshot_hits, schedules / 10);
  EXPECT_GT(totals_.snapshots_evicted, schedules / 10);
  EXPECT_GT(backend_->steps_ahead, schedules);
}

INSTANTIATE_TEST_SUITE_P(
    Types, ScheduleBits,
    ::testing::Values(ScheduleVariant{"bf16WeightsF32Kv", DType::kBF16, DType::kF32, 1},
                      ScheduleVariant{"f32WeightsBf16Kv", DType::kF32, DType::kBF16, 2}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace prefixd::testing
