// The command line of the daemon: `prefixd [flags]` serves; `prefixd config ...` looks at options.
#ifndef PREFIXD_SERVER_COMMAND_LINE_H_
#define PREFIXD_SERVER_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/resolve_options.h"

namespace prefixd {

enum class Command {
  kServe,
  kPrintText,    // Help or version: print CommandLine::text and leave.
  kConfigPrint,  // The options in force, as a configuration file.
  kConfigCheck,  // Whether a configuration file is right.
};

struct CommandLine {
  Command command = Command::kServe;
  std::vector<FlagValue> flags;
  std::string text;          // For kPrintText.
  std::string check_file;    // For kConfigCheck.
  bool show_origin = false;  // For kConfigPrint.
};

// Errors: INVALID_ARGUMENT, one line that names the argument and what may have been meant.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_COMMAND_LINE_H_
