// Deadlines of calls.
#ifndef PREFIXD_CLIENT_CALL_DEADLINE_H_
#define PREFIXD_CLIENT_CALL_DEADLINE_H_

#include <grpcpp/client_context.h>

#include "absl/time/time.h"

namespace prefixd {

// Ends the call `timeout` from now; an infinite one sets no deadline.
void SetTimeout(absl::Duration timeout, grpc::ClientContext* context);

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_CALL_DEADLINE_H_
