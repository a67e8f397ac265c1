#include "server/call_support.h"

#include <algorithm>
#include <random>

#include <grpc/support/time.h>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "engine/error_reasons.h"
#include "server/convert.h"

namespace prefixd {
namespace {

constexpr char kPushbackKey[] = "grpc-retry-pushback-ms";

std::mt19937_64& Random() {
  thread_local std::mt19937_64 engine = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return engine;
}

}  // namespace

std::string DrawRequestId() {
  // Straight from the system's source: an id must not be guessed from an earlier one.
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&id, absl::Hex(static_cast<uint32_t>(device()), absl::kZeroPad8));
  }
  return id;
}

absl::StatusOr<std::string> ChooseRequestId(const std::string& from_body,
                                            const grpc::ServerContextBase& context) {
  if (!from_body.empty()) return IsRequestId(from_body) ? from_body : DrawRequestId();
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(kRequestIdKey);
  if (found == metadata.end()) return DrawRequestId();
  std::string id(found->second.data(), found->second.size());
  if (!IsRequestId(id)) {
    Violations violations;
    violations.Add(reason::kParameterOutOfRange, kRequestIdKey,
                   "a request id has 1..128 characters of [A-Za-z0-9._:/-]");
    return violations.ToStatus();
  }
  return id;
}

absl::Duration TimeLeft(const grpc::ServerContextBase& context, const RequestLimits& limits) {
  const gpr_timespec deadline = context.raw_deadline();
  // In the deadline's own clock, so that a step of the wall clock changes nothing.
  const gpr_timespec left = gpr_time_sub(deadline, gpr_now(deadline.clock_type));
  if (gpr_time_cmp(deadline, gpr_inf_future(deadline.clock_type)) == 0) {
    return limits.default_deadline;
  }
  const absl::Duration duration = absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
  return std::clamp(duration, absl::ZeroDuration(), limits.max_deadline);
}

absl::Status BudgetUsedUp() {
  return MakeError(absl::StatusCode::kResourceExhausted,
                   "the messages of live requests use up the server's memory for them",
                   ErrorDetail{.reason = reason::kQueueFull, .retry_after = absl::Seconds(1)});
}

absl::Status SlowReader(absl::string_view what) {
  return MakeError(absl::StatusCode::kResourceExhausted, reason::kSlowReader,
                   absl::StrCat("the stream was not read fast enough: ", what));
}

GrpcError PrepareError(const absl::Status& status, absl::string_view request_id,
                       grpc::ServerContextBase* context) {
  const double jitter = std::uniform_real_distribution<double>(-1.0, 1.0)(Random());
  GrpcError error = ToGrpcError(status, request_id, jitter);
  if (!request_id.empty()) context->AddTrailingMetadata(kRequestIdKey, std::string(request_id));
  if (error.pushback_ms) {
    context->AddTrailingMetadata(kPushbackKey, absl::StrCat(*error.pushback_ms));
  }
  return error;
}

}  // namespace prefixd
