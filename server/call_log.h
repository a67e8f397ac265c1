// The line that the log gets for a call, or for one request of a stream, that ended.
#ifndef PREFIXD_SERVER_CALL_LOG_H_
#define PREFIXD_SERVER_CALL_LOG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/log.h"

namespace prefixd {

struct CallSummary {
  absl::string_view request_id;
  absl::string_view tenant;  // Empty: not shown.
  absl::string_view method;  // "classify"; empty: not shown.
  absl::Status status;
  absl::string_view reason;  // Of an end that is OK; those of errors are shown by themselves.
  std::string details;       // " prompt=3 cached=2", or empty.
  absl::Duration total;
};

// Writes one line at `level`; at kError, with the cause, for what is nobody's fault but ours.
void LogCall(const CallSummary& summary, LogLevel level = LogLevel::kInfo);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CALL_LOG_H_
