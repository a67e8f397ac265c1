// What every call needs: an id, a deadline on the engine's clock, a status with its trailers.
#ifndef PREFIXD_SERVER_CALL_SUPPORT_H_
#define PREFIXD_SERVER_CALL_SUPPORT_H_

#include <string>

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/grpc_status.h"
#include "server/request_limits.h"

namespace prefixd {

// A random id of 128 bits, hexadecimal.
std::string DrawRequestId();

// Metadata with the id of a call.
inline constexpr char kRequestIdKey[] = "x-request-id";

// The id of a call: `from_body`, else metadata `x-request-id`, else drawn. A malformed `from_body`
// is reported with all other violations, under a drawn id.
// Errors: INVALID_ARGUMENT for a malformed metadata value.
absl::StatusOr<std::string> ChooseRequestId(const std::string& from_body,
                                            const grpc::ServerContextBase& context);

// Time until the call's deadline, within the limits; the default if it has none. Never negative.
absl::Duration TimeLeft(const grpc::ServerContextBase& context, const RequestLimits& limits);

// RESOURCE_EXHAUSTED, QUEUE_FULL, for a call that ServingContext::budget has no room for.
absl::Status BudgetUsedUp();

// RESOURCE_EXHAUSTED, SLOW_READER; `what`: how slow.
absl::Status SlowReader(absl::string_view what);

// Takes the content of a received message. gRPC keeps the message until the call ends; emptying it
// spares a copy of the images for all that time. The object is not const where it was made.
template <typename Message>
Message TakeMessage(const Message* message) {
  Message taken;
  taken.Swap(const_cast<Message*>(message));
  return taken;
}

// As ToGrpcError, with random jitter, and adds the trailers `x-request-id` and, where there is one,
// `grpc-retry-pushback-ms`. Call it before Finish.
GrpcError PrepareError(const absl::Status& status, absl::string_view request_id,
                       grpc::ServerContextBase* context);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CALL_SUPPORT_H_
