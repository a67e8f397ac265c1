// The commands of prefixd-tools. Each opens the engine, works and writes files; progress goes to
// stderr, what was written to stdout.
#ifndef PREFIXD_TOOLS_COMMANDS_H_
#define PREFIXD_TOOLS_COMMANDS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/tokenizer/tokenizer.h"
#include "tools/command_line.h"
#include "tools/dataset.h"
#include "tools/engine_measurer.h"
#include "tools/inspect.h"

namespace prefixd::tools {

// Everything that is written is there when they return OK.
absl::Status RunEvaluate(const Options& options);
absl::Status RunEvaluateClassification(const Options& options);
absl::Status RunCalibrate(const Options& options);
absl::Status RunExperiment(const Options& options);
absl::Status RunConvertLlava(const Options& options);
absl::Status RunConvertOpenFlamingo(const Options& options);
absl::Status RunInspect(const Options& options);

// Reads the weights, with progress on stderr.
absl::Status LoadWeights(Engine* engine, const Clock* clock);

// What both work with.
struct Workbench {
  MonotonicClock clock;
  Dataset data;
  std::unique_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<Engine> engine;  // Serves.
  std::unique_ptr<EngineMeasurer> measurer;
};

// Reads the data, opens the model and checks that every sample fits it; makes the output directory.
// Errors name the file, option or sample.
absl::StatusOr<std::unique_ptr<Workbench>> SetUp(const Options& options);

// As WriteFileAtomically, and says so on stdout.
absl::Status WriteOutput(const Options& options, const std::string& name, const std::string& text);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_COMMANDS_H_
