#include "client/prefixctl/exit_code.h"

#include "base/error.h"

namespace prefixd::ctl {

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kUnavailable: {
      const std::optional<ErrorDetail> detail = GetErrorDetail(status);
      return detail && detail->reason == "MODEL_NOT_READY" ? kExitNotReady : kExitUnavailable;
    }
    case absl::StatusCode::kDeadlineExceeded:
      return kExitDeadline;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kExitInvalid;
    case absl::StatusCode::kResourceExhausted:
      return kExitQuota;
    default:
      return kExitFailed;
  }
}

}  // namespace prefixd::ctl
