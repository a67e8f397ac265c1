#include "server/call_log.h"

#include "absl/strings/str_cat.h"
#include "server/grpc_status.h"

namespace prefixd {

void LogCall(const CallSummary& summary, LogLevel level) {
  const absl::Status& status = summary.status;
  const bool ours =
      status.code() == absl::StatusCode::kInternal || status.code() == absl::StatusCode::kUnknown;
  if (ours) level = LogLevel::kError;
  if (!LogEnabled(level)) return;
  std::string line = absl::StrCat("req=", summary.request_id);
  if (!summary.tenant.empty()) absl::StrAppend(&line, " tenant=", summary.tenant);
  if (!summary.method.empty()) absl::StrAppend(&line, " ", summary.method);
  absl::StrAppend(&line, status.ok() ? " done" : " failed",
                  " code=", absl::StatusCodeToString(status.code()));
  const std::string reason =
      status.ok() ? std::string(summary.reason) : ToGrpcError(status, "").reason;
  if (!reason.empty()) absl::StrAppend(&line, " reason=", reason);
  absl::StrAppend(&line, summary.details, " total_ms=", absl::ToInt64Milliseconds(summary.total));
  if (ours) absl::StrAppend(&line, " cause=", status.message());
  Log(level, line);
}

}  // namespace prefixd
