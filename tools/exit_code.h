// Exit codes of prefixd-tools: those of prefixctl, which starts it and passes them on. Scripts rely
// on them: they never change.
#ifndef PREFIXD_TOOLS_EXIT_CODE_H_
#define PREFIXD_TOOLS_EXIT_CODE_H_

#include "absl/status/status.h"

namespace prefixd::tools {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;   // Any other status.
inline constexpr int kExitUsage = 2;    // Wrong arguments.
inline constexpr int kExitInvalid = 6;  // The model, the data or a state file is invalid.
inline constexpr int kExitNoRoom = 7;   // Memory does not suffice.

// The exit code of a command that ended with `status`.
int ExitCodeOf(const absl::Status& status);

}  // namespace prefixd::tools

#endif  // PREFIXD_TOOLS_EXIT_CODE_H_
