#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tools/commands.h"
#include "tools/kv_cache_experiment.h"

namespace prefixd::tools {

absl::Status RunExperiment(const Options& options) {
  const MonotonicClock clock;
  PREFIXD_ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                           Engine::Open(options.engine, &clock));
  PREFIXD_RETURN_IF_ERROR(LoadWeights(engine.get(), &clock));
  PREFIXD_ASSIGN_OR_RETURN(
      const KvCacheExperiment experiment,
      RunKvCacheExperiment(options.kv_cache, clock, engine.get(),
                           [&options](int32_t run, bool cached) {
                             std::fprintf(stderr, "run %d of %d, %s the KV cache\n", run + 1,
                                          options.kv_cache.repeat, cached ? "with" : "without");
                           }));
  std::fputs(KvCacheText(experiment).c_str(), stdout);
  if (options.out.empty()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::create_directories(options.out, error);
  if (error) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.out, ": cannot make the directory: ", error.message()));
  }
  PREFIXD_RETURN_IF_ERROR(WriteOutput(options, "kv_cache.csv", KvCacheCsv(experiment)));
  return WriteOutput(options, "kv_cache.svg", KvCacheSvg(experiment));
}

}  // namespace prefixd::tools
