// The classic experiment: the same tokens generated with a KV cache and without, and what each
// token took.
#ifndef PREFIXD_TOOLS_KV_CACHE_EXPERIMENT_H_
#define PREFIXD_TOOLS_KV_CACHE_EXPERIMENT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "engine/engine.h"

namespace prefixd {

struct KvCacheExperimentOptions {
  std::string prompt;
  int32_t new_tokens = 1000;
  int32_t repeat = 1;
};

// One generation.
struct KvCacheRun {
  std::vector<int32_t> tokens;
  std::vector<double> logprobs;  // Of the tokens.
  std::vector<double>
      token_seconds;   // [tokens]: since the token before, the first since the start.
  double seconds = 0;  // All of them.
};

struct KvCacheExperiment {
  KvCacheExperimentOptions options;
  std::string model, backend, level;
  int32_t prompt_tokens = 0;
  std::vector<KvCacheRun> with_cache, without;  // [repeat].
};

// Mean and sample standard deviation (0 of one value).
struct MeanAndDeviation {
  double mean = 0, deviation = 0;
};
MeanAndDeviation MeanOf(const std::vector<KvCacheRun>& runs);

// Positions up to the first that differs between any two runs; all tokens if none does.
int32_t EqualTokens(const KvCacheExperiment& experiment);
// Largest difference of log-probabilities between the first runs.
double LogprobDifference(const KvCacheExperiment& experiment);

// Generates greedily, runs with and without taking turns. `progress` is called before each run.
// Errors: those of the engine; FAILED_PRECONDITION if the context has no room for all new tokens.
absl::StatusOr<KvCacheExperiment> RunKvCacheExperiment(
    const KvCacheExperimentOptions& options, const Clock& clock, Engine* engine,
    const std::function<void(int32_t run, bool cached)>& progress);

// What is printed: mean and deviation, ratio, agreement, and milliseconds per token against
// position.
std::string KvCacheText(const KvCacheExperiment& experiment);
// position,with_seconds,without_seconds: means over the runs.
std::string KvCacheCsv(const KvCacheExperiment& experiment);
// The same as a picture, log scale. Static SVG; see chart.h.
std::string KvCacheSvg(const KvCacheExperiment& experiment);

}  // namespace prefixd

#endif  // PREFIXD_TOOLS_KV_CACHE_EXPERIMENT_H_
