// Deadlines of calls, and durations on the wire.
#ifndef PREFIXD_CLIENT_CALL_DEADLINE_H_
#define PREFIXD_CLIENT_CALL_DEADLINE_H_

#include <google/protobuf/duration.pb.h>
#include <grpcpp/client_context.h>

#include "absl/time/time.h"

namespace prefixd {

// Ends the call `timeout` from now; an infinite one sets no deadline.
void SetTimeout(absl::Duration timeout, grpc::ClientContext* context);

// Infinite durations become the longest that the wire takes, 10,000 years.
void SetProto(absl::Duration duration, google::protobuf::Duration* out);

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_CALL_DEADLINE_H_
