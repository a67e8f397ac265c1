// The commands that work on checkpoints and run no model: convert and inspect.
#include <cstdio>

#include "base/status_macros.h"
#include "tools/commands.h"

namespace prefixd::tools {

absl::Status RunConvertLlava(const Options& options) {
  PREFIXD_RETURN_IF_ERROR(ConvertLlava(options.llava));
  std::printf("wrote %s\n", options.llava.out.c_str());
  return absl::OkStatus();
}

absl::Status RunConvertOpenFlamingo(const Options& options) {
  PREFIXD_RETURN_IF_ERROR(ConvertOpenFlamingo(options.openflamingo));
  std::printf("wrote %s\n", options.openflamingo.out.c_str());
  return absl::OkStatus();
}

absl::Status RunInspect(const Options& options) {
  PREFIXD_ASSIGN_OR_RETURN(const Inspection inspection, Inspect(options.inspect.path));
  const std::string text =
      options.inspect.json ? InspectionJson(inspection) : InspectionText(inspection);
  std::fputs(text.c_str(), stdout);
  return absl::OkStatus();
}

}  // namespace prefixd::tools
