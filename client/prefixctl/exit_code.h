// Exit codes of prefixctl. Scripts rely on them: they never change.
#ifndef PREFIXD_CLIENT_PREFIXCTL_EXIT_CODE_H_
#define PREFIXD_CLIENT_PREFIXCTL_EXIT_CODE_H_

#include "absl/status/status.h"

namespace prefixd::ctl {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;       // The request failed with any other status.
inline constexpr int kExitUsage = 2;        // Wrong arguments.
inline constexpr int kExitUnavailable = 3;  // Cannot connect, or the server refuses work for now.
inline constexpr int kExitNotReady = 4;     // The model is loading, or health is not SERVING.
inline constexpr int kExitDeadline = 5;     // The deadline passed.
inline constexpr int kExitInvalid = 6;      // The input is invalid.
inline constexpr int kExitQuota = 7;        // Refused for lack of room: queue, memory, quota.
inline constexpr int kExitInterrupted = 130;

// The exit code of a call that ended with `status`.
int ExitCodeOf(const absl::Status& status);

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_EXIT_CODE_H_
