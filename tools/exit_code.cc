#include "tools/exit_code.h"

namespace prefixd::tools {

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return kExitInvalid;
    case absl::StatusCode::kResourceExhausted:
      return kExitNoRoom;
    default:
      return kExitFailed;
  }
}

}  // namespace prefixd::tools
