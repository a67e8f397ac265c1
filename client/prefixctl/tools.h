// The commands that work on models rather than ask a server. prefixd-tools does them; prefixctl
// becomes it.
#ifndef PREFIXD_CLIENT_PREFIXCTL_TOOLS_H_
#define PREFIXD_CLIENT_PREFIXCTL_TOOLS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prefixd::ctl {

// Whether the first argument of the command line names such a command. Everything after it is
// prefixd-tools' to read.
bool IsToolsCommand(const std::vector<std::string>& arguments);

// Their names and what help says of them.
struct ToolsCommand {
  const char* name;
  const char* help;
};
inline constexpr ToolsCommand kToolsCommands[] = {
    {"calibrate", "Make a profile of a model for KV budgets (prefixd-tools)"},
    {"convert", "Make a model directory of checkpoints in other forms (prefixd-tools)"},
    {"evaluate", "Measure what KV budgets cost, or `evaluate classification` (prefixd-tools)"},
    {"experiment", "Generate with and without a KV cache, and compare (prefixd-tools)"},
    {"inspect", "Show what a checkpoint holds (prefixd-tools)"},
};

// Replaces this process by prefixd-tools with these arguments, so that its exit code is ours: the
// one beside this program, else the one on PATH. Returns the exit code only if neither can be
// started, after saying so on stderr. Requires: no thread was started.
int RunTools(const std::vector<std::string>& arguments);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_TOOLS_H_
