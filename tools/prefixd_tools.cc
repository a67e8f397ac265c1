// prefixd-tools: what runs the engine without serving it, and what works on checkpoints.
// `prefixctl` starts it for its commands of these names.
#include <cstdio>
#include <exception>
#include <string>
#include <variant>
#include <vector>

#include "base/log.h"
#include "tools/command_line.h"
#include "tools/commands.h"
#include "tools/exit_code.h"

namespace prefixd::tools {
namespace {

absl::Status Run(const Options& options) {
  switch (options.command) {
    case Command::kEvaluate:
      return RunEvaluate(options);
    case Command::kEvaluateClassification:
      return RunEvaluateClassification(options);
    case Command::kCalibrate:
      return RunCalibrate(options);
    case Command::kExperiment:
      return RunExperiment(options);
    case Command::kConvertLlava:
      return RunConvertLlava(options);
    case Command::kConvertOpenFlamingo:
      return RunConvertOpenFlamingo(options);
    case Command::kInspect:
      return RunInspect(options);
  }
  return absl::OkStatus();
}

int Main(const std::vector<std::string>& arguments) {
  const std::variant<Options, EarlyExit> parsed = ParseOptions(arguments);
  if (const EarlyExit* exit = std::get_if<EarlyExit>(&parsed)) {
    std::fputs(exit->out.c_str(), stdout);
    std::fputs(exit->err.c_str(), stderr);
    return exit->exit_code;
  }
  ConfigureLog(LogLevel::kWarn, LogFormat::kText);
  const Options& options = std::get<Options>(parsed);
  const absl::Status status = Run(options);
  if (!status.ok()) {
    std::fprintf(stderr, "prefixd-tools: %s\n", std::string(status.message()).c_str());
  }
  return ExitCodeOf(status);
}

}  // namespace
}  // namespace prefixd::tools

int main(int argc, char** argv) {
  try {
    return prefixd::tools::Main(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "prefixd-tools: %s\n", error.what());
    return prefixd::tools::kExitFailed;
  }
}
