// The experiment on the demo model: the tokens are the same with and without a KV cache, and what
// is reported are the numbers that were measured.
#include "tools/kv_cache_experiment.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace prefixd {
namespace {

KvCacheRun RunOf(double seconds, std::vector<int32_t> tokens) {
  KvCacheRun run{.tokens = std::move(tokens), .seconds = seconds};
  run.token_seconds.assign(run.tokens.size(), seconds / static_cast<double>(run.tokens.size()));
  run.logprobs.assign(run.tokens.size(), -1.0);
  return run;
}

TEST(KvCacheExperimentTest, MeansDeviationsAndAgreementAreThoseOfTheRuns) {
  KvCacheExperiment experiment{.options = {.new_tokens = 4, .repeat = 2}};
  experiment.with_cache = {RunOf(1.0, {5, 6, 7, 8}), RunOf(3.0, {5, 6, 7, 8})};
  experiment.without = {RunOf(20.0, {5, 6, 7, 8}), RunOf(20.0, {5, 6, 9, 8})};
  EXPECT_DOUBLE_EQ(MeanOf(experiment.with_cache).mean, 2.0);
  EXPECT_DOUBLE_EQ(MeanOf(experiment.with_cache).deviation, std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(MeanOf({RunOf(2.0, {1})}).deviation, 0.0);
  EXPECT_EQ(EqualTokens(experiment), 2);
  experiment.without[0].logprobs[3] = -1.5;
  EXPECT_DOUBLE_EQ(LogprobDifference(experiment), 0.5);
  const std::string text = KvCacheText(experiment);
  EXPECT_TRUE(absl::StrContains(text, "2.000 ± 1.414 s")) << text;
  EXPECT_TRUE(absl::StrContains(text, "ratio             10.0")) << text;
  EXPECT_TRUE(absl::StrContains(text, "2 of 4 equal")) << text;
  const std::vector<std::string> lines = absl::StrSplit(KvCacheCsv(experiment), '\n');
  ASSERT_EQ(lines.size(), 6u);  // A head, four tokens, the end.
  EXPECT_EQ(lines[1], "0,0.500000,5.000000");
  EXPECT_TRUE(absl::StrContains(KvCacheSvg(experiment), "ratio 10.0"));
}

TEST(KvCacheExperimentTest, TheDemoModelSaysTheSameWithoutACache) {
  const MonotonicClock clock;
  EngineOptions options;
  options.model_path = PREFIXD_SOURCE_DIR "/models/demo";
  options.backend = "cpu";
  options.kv_memory_bytes = 64 << 20;
  auto engine = Engine::Open(options, &clock);
  ASSERT_TRUE(engine.ok()) << engine.status();
  ASSERT_TRUE((*engine)->LoadWeights([](uint64_t, uint64_t) { return true; }).ok());
  int runs = 0;
  const auto experiment = RunKvCacheExperiment(
      {.prompt = "There is a red ring at the top left", .new_tokens = 64, .repeat = 2}, clock,
      engine->get(), [&runs](int32_t, bool) { ++runs; });
  ASSERT_TRUE(experiment.ok()) << experiment.status();
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(EqualTokens(*experiment), 64);
  EXPECT_EQ(LogprobDifference(*experiment), 0.0);  // Bit for bit on the CPU.
  EXPECT_GT(experiment->prompt_tokens, 0);
  const auto too_long = RunKvCacheExperiment({.prompt = "a", .new_tokens = 60000}, clock,
                                             engine->get(), [](int32_t, bool) {});
  EXPECT_TRUE(absl::IsFailedPrecondition(too_long.status())) << too_long.status();
}

}  // namespace
}  // namespace prefixd
