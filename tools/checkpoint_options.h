// The options of convert and inspect.
#ifndef PREFIXD_TOOLS_CHECKPOINT_OPTIONS_H_
#define PREFIXD_TOOLS_CHECKPOINT_OPTIONS_H_

#include <CLI/CLI.hpp>

#include "tools/command_line.h"

namespace prefixd::tools {

// The last line of every command's help.
inline constexpr char kExitCodes[] =
    "Exit codes: 0 done, 1 failed, 2 usage, 6 invalid model, data or state, 7 out of room.";

// `options` must outlive `app`.
void AddConvertOptions(CLI::App* app, Options* options);
void AddInspectOptions(CLI::App* app, Options* options);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_CHECKPOINT_OPTIONS_H_
