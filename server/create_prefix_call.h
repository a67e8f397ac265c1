// One CreatePrefix call between the engine and gRPC: ends once, with the engine's answer or when
// the client leaves, whichever is first.
#ifndef PREFIXD_SERVER_CREATE_PREFIX_CALL_H_
#define PREFIXD_SERVER_CREATE_PREFIX_CALL_H_

#include <functional>
#include <string>

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "engine/engine.h"
#include "prefixd/v1/prefix_service.pb.h"

namespace prefixd {

// The engine's callback and the call share it: the engine may answer long after the call, its
// service and its server are gone. Thread-safe.
class CreatePrefixCall {
 public:
  using Fill = std::function<void(const PrefixInfo&, v1::Prefix*)>;

  // `call`, `reactor` and `response` live until the reactor's OnDone, which comes after End. What
  // `fill` needs must live as long.
  CreatePrefixCall(grpc::CallbackServerContext* call, grpc::ServerUnaryReactor* reactor,
                   v1::CreatePrefixResponse* response, std::string request_id, Fill fill);

  // Ends the call; later calls do nothing.
  void End(const absl::StatusOr<PrefixInfo>& result);

 private:
  grpc::CallbackServerContext* const call_;
  v1::CreatePrefixResponse* const response_;
  const std::string request_id_;
  const Fill fill_;

  Mutex mutex_;
  grpc::ServerUnaryReactor* reactor_ ABSL_GUARDED_BY(mutex_);  // Null once the call has its end.
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_CREATE_PREFIX_CALL_H_
