// The engine over the emulated CUDA backend, end to end on a tiny LLaVA: prefill in pieces, decode
// from recordings, prefix hits, preemption, budgets of every scope and snapshots. In the
// deterministic mode every stream says what it says alone on the same backend, bit for bit; the
// float32 instance says the tokens of the CPU engine.
#include <string>
#include <vector>

#include "engine/backend/registry.h"
#include "tests/cuda_emulation/emulated_backend.h"
#include "tests/engine/schedule_bits.h"

namespace prefixd::testing {
namespace {

TEST_P(ScheduleBits, EveryStreamIsItsLonelyRunOnTheDevice) {
  // Each instance has schedules of its own.
  const int first = GetParam().name == "f32" ? 4 : GetParam().name == "bf16" ? 2 : 0;
  RunSchedules(first, /*count=*/2, /*per_loop=*/2);
  if (HasFatalFailure()) return;
  EXPECT_GT(totals_.finished, 10);
  EXPECT_GT(totals_.preemptions, 0);
  EXPECT_GT(totals_.hit_tokens, 100);
  EXPECT_GT(totals_.feature_hits, 0);
  EXPECT_GT(totals_.selections, 2);
  EXPECT_GT(totals_.drops, 10);
  EXPECT_GT(backend_->steps_ahead, 0);
}

// Of the float32 instance; 16-bit types are judged by their logits (cuda_logits_test).
class DeviceTokens : public ScheduleBits {};

// The same requests alone on the CPU.
TEST_P(DeviceTokens, AreThoseOfTheCpu) {
  const std::vector<std::vector<ChoiceBytes>> device = alone_;
  const std::vector<std::vector<int32_t>> device_kept = kept_alone_;
  Use(CreateBackend({.name = "cpu"}).value());
  RunAlone();
  int tokens = 0;
  for (size_t i = 0; i < device.size(); ++i) {
    SCOPED_TRACE(i);
    ASSERT_EQ(device[i].size(), alone_[i].size());
    EXPECT_EQ(device_kept[i], kept_alone_[i]);
    for (size_t c = 0; c < alone_[i].size(); ++c) {
      EXPECT_EQ(device[i][c].ids, alone_[i][c].ids);
      EXPECT_EQ(device[i][c].text, alone_[i][c].text);
      EXPECT_EQ(device[i][c].end, alone_[i][c].end);
      tokens += static_cast<int>(alone_[i][c].ids.size());
    }
  }
  EXPECT_GT(tokens, 100);
}

ScheduleVariant Variant(const std::string& name, DType dtype, const std::string& shape) {
  return {.name = name,
          .weights = DType::kBF16,
          .kv = dtype,
          .make_backend = [dtype] { return EmulatedBackend(dtype); },
          .family_size = 24,
          .follow_ups = 6,
          .shape = shape};
}

INSTANTIATE_TEST_SUITE_P(Cuda, ScheduleBits,
                         ::testing::Values(Variant("f32", DType::kF32, "tiny-llava"),
                                           Variant("bf16", DType::kBF16, "tiny-llava"),
                                           // On tensor cores.
                                           Variant("bf16WideHeads", DType::kBF16,
                                                   "tiny-llava-wide-heads")),
                         [](const auto& info) { return info.param.name; });

INSTANTIATE_TEST_SUITE_P(Cuda, DeviceTokens,
                         ::testing::Values(Variant("f32", DType::kF32, "tiny-llava")),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace prefixd::testing
