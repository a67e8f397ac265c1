// The command line of prefixd-tools.
#ifndef PREFIXD_TOOLS_COMMAND_LINE_H_
#define PREFIXD_TOOLS_COMMAND_LINE_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "engine/options.h"
#include "tools/classification_options.h"
#include "tools/convert.h"
#include "tools/dataset.h"
#include "tools/kv_cache_experiment.h"

namespace prefixd::tools {

enum class Command {
  kEvaluate,
  kEvaluateClassification,
  kCalibrate,
  kExperiment,
  kConvertLlava,
  kConvertOpenFlamingo,
  kInspect
};

struct Options {
  Command command = Command::kEvaluate;
  EngineOptions engine;
  DatasetOptions data;
  int32_t in_flight = 16;  // Requests at once.
  bool prefix_cache = true;
  std::string out;  // Directory; made if it does not exist.

  // evaluate
  // "prefixkv" or, with an offline profile, "prefixkv@PROFILE". Empty: all policies.
  std::vector<std::string> policies;
  bool full_only = false;       // `--policies none`.
  std::vector<double> budgets;  // Shares kept, (0, 1], ascending, distinct.
  int32_t max_new_tokens = 1024;

  ClassificationEvaluationOptions classification;

  // calibrate
  std::string name;  // Of the profile; empty: the model's.
  bool restart = false;

  // experiment kv-cache
  KvCacheExperimentOptions kv_cache;

  ConvertLlavaOptions llava;
  ConvertOpenFlamingoOptions openflamingo;

  struct {
    std::string path;
    bool json = false;
  } inspect;

  std::string command_line;  // As a shell would take it.
};

// What is printed instead of running a command: help, version, a usage error.
struct EarlyExit {
  int exit_code = 0;
  std::string out, err;
};

// Parses the arguments after the program's name.
std::variant<Options, EarlyExit> ParseOptions(const std::vector<std::string>& arguments);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_COMMAND_LINE_H_
