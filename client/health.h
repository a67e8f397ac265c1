// The calls of grpc.health.v1, which every gRPC server with health checking answers.
// Free functions; thread-safe.
#ifndef PREFIXD_CLIENT_HEALTH_H_
#define PREFIXD_CLIENT_HEALTH_H_

#include <functional>
#include <memory>
#include <string>

#include <grpcpp/channel.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace prefixd {

// The values of grpc.health.v1.HealthCheckResponse.ServingStatus.
enum class Health { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

// "SERVING" and so on, as in the protocol.
const char* HealthName(Health health);

// Asks once. Errors: NOT_FOUND if the server does not know `service`.
absl::StatusOr<Health> CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                                   const std::string& service, absl::Duration timeout);

// Calls `on_change` with the present state and with every change, until it returns false (then OK),
// `timeout` passes or the connection ends. `on_change` runs on the calling thread.
absl::Status WatchHealth(const std::shared_ptr<grpc::Channel>& channel, const std::string& service,
                         absl::Duration timeout, const std::function<bool(Health)>& on_change);

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_HEALTH_H_
