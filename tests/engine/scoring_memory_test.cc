// What scoring many long names over a large vocabulary takes beside the model and its KV.
#include <fstream>
#include <future>
#include <random>
#include <sstream>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/error.h"
#include "engine/engine.h"
#include "tests/weights/files.h"
#include "tools/random_model.h"

namespace prefixd {
namespace {

constexpr int32_t kVocabulary = 150000;

// A line of /proc/self/status, in bytes.
int64_t StatusBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) == 0) {
      return std::stoll(line.substr(field.size() + 1)) * 1024;
    }
  }
  return -1;
}

void ResetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }

class ScoringMemoryTest : public ::testing::TestWithParam<uint64_t> {
 protected:
  absl::StatusOr<ScoreResult> Score(int names, int tokens) {
    std::mt19937 random(7);
    ScoreRequest request{.id = "score"};
    request.input = TokenInput{{5, 6, 7, 8, 9}, {}};
    for (int k = 0; k < names; ++k) {
      std::vector<int32_t> ids;
      for (int i = 0; i < tokens; ++i) ids.push_back(static_cast<int32_t>(random() % kVocabulary));
      request.continuations.emplace_back(std::move(ids));
    }
    ResetPeak();
    before_ = StatusBytes("VmRSS");
    std::promise<absl::StatusOr<ScoreResult>> promise;
    engine_->classifier()->Score(std::move(request), [&promise](absl::StatusOr<ScoreResult> r) {
      promise.set_value(std::move(r));
    });
    auto result = promise.get_future().get();
    peak_ = StatusBytes("VmHWM");
    return result;
  }

  const MonotonicClock clock_;
  std::unique_ptr<Engine> engine_;
  int64_t before_ = 0, peak_ = 0;
};

TEST_P(ScoringMemoryTest, PeaksWithinTheWorkspace) {
  const testing::TemporaryDirectory directory;
  ASSERT_TRUE(WriteRandomModel({.shape = "wide-vocabulary", .seed = 1, .dtype = DType::kBF16},
                               directory.path())
                  .ok());
  EngineOptions options;
  options.model_path = directory.path();
  options.backend = "cpu";
  options.kv_memory_bytes = 16 << 20;
  options.max_running = 2;
  options.classification.scoring_workspace = GetParam();
  auto engine = Engine::Open(options, &clock_);
  ASSERT_TRUE(engine.ok()) << engine.status();
  engine_ = *std::move(engine);
  ASSERT_TRUE(engine_->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());

  const auto result = Score(1000, 16);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->scoring.computed_rows, 14000);
  // The logits of one step's rows alone would be 154 MB. The names themselves, their tree and the
  // answer are a few.
  const int64_t names = 8 << 20;
  EXPECT_LT(peak_ - before_, static_cast<int64_t>(GetParam()) + names);
  std::printf("workspace %llu: %lld bytes more at the peak, %d passes\n",
              static_cast<unsigned long long>(GetParam()), static_cast<long long>(peak_ - before_),
              result->scoring.passes);

  const auto refused = Score(1000, 66);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("65536"), std::string::npos) << refused.status();
}

INSTANTIATE_TEST_SUITE_P(Workspaces, ScoringMemoryTest,
                         ::testing::Values(uint64_t{1} << 20, uint64_t{32} << 20));

}  // namespace
}  // namespace prefixd
