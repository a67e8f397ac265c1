// The stages of a GPU acceptance. Each runs in a process of its own, so a lost device or a crash
// ends that stage alone.
#ifndef PREFIXD_TOOLS_ACCEPTANCE_STAGES_H_
#define PREFIXD_TOOLS_ACCEPTANCE_STAGES_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/engine.h"
#include "tools/acceptance/floors.h"
#include "tools/acceptance/stage_report.h"

namespace prefixd::acceptance {

struct BackendChoice {
  DType activation_dtype = DType::kBF16;
  bool deterministic = false;
  bool graphs = true;
};

// What stages run on; tests give an emulated device and toy sizes.
struct StageSettings {
  bool quick = false;
  std::string weights;   // A model directory; empty: random weights.
  std::string out;       // Reports, logs, random models.
  std::string source;    // The checkout.
  std::string binaries;  // The build folder.
  ModelShape small = Llava7B(), large = Llava13B();
  double soak_seconds = 300;
  int engine_tokens = 64;  // Of an answer in stage engine.
  // Random models whose log-probabilities stage engine compares, too; those that are not among the
  // shapes are passed over.
  std::vector<std::string> families = {"tiny-llama", "tiny-gpt2",      "tiny-mpt",
                                       "tiny-neox",  "tiny-paligemma", "tiny-openflamingo"};
  int64_t most_pages = int64_t{1} << 31;  // Of prefixkv's pool, if the card has room for more.
  int replays = 50;
  std::function<absl::StatusOr<std::unique_ptr<Backend>>(const BackendChoice&)> open_backend;
  std::function<absl::StatusOr<std::unique_ptr<Engine>>(const EngineOptions&)> open_engine;
};

// The ceilings that an earlier stage measured; else those of an H100, and a fact that says so.
Ceilings CeilingsFor(const StageSettings& settings, StageReport* report);

StageReport RunEnv(const StageSettings& settings);
StageReport RunCeilings(const StageSettings& settings);
StageReport RunKernels(const StageSettings& settings);
StageReport RunSanitize(const StageSettings& settings);
StageReport RunRoofline(const StageSettings& settings);
StageReport RunEngineStage(const StageSettings& settings);
StageReport RunE2e(const StageSettings& settings);
StageReport RunPrefixKv(const StageSettings& settings);
StageReport RunSoak(const StageSettings& settings);
StageReport RunProfile(const StageSettings& settings);

// The stage of that name, on a device that is there: all but `env` fail at once without one.
StageReport RunStage(const std::string& stage, const StageSettings& settings);

}  // namespace prefixd::acceptance

#endif  // PREFIXD_TOOLS_ACCEPTANCE_STAGES_H_
