// The gRPC server: listener, services, health and reflection. One thread starts and stops it.
#ifndef PREFIXD_SERVER_GRPC_SERVER_H_
#define PREFIXD_SERVER_GRPC_SERVER_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/serving_context.h"

namespace grpc {
class Server;
}  // namespace grpc

namespace prefixd {

class GenerationService;
class ModelService;
class AdminService;
class PrefixService;

class GrpcServer {
 public:
  // Listens on `context->options.listen` and answers at once; health says live and not ready. Sets
  // `context->listen`. `context` must outlive the server.
  // Errors: FAILED_PRECONDITION if the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(ServingContext* context);
  // Ends what is left at once.
  ~GrpcServer();

  int port() const { return port_; }

  // Whether "ready", "readiness", the services and `model/<name>` are SERVING. "", "live" and
  // "liveness" are from Start to Shutdown. Thread-safe.
  void SetReady(bool ready);

  // Refuses new calls, waits until the others are done or `grace` has passed, then cancels them.
  void Shutdown(absl::Duration grace);

 private:
  explicit GrpcServer(ServingContext* context);

  ServingContext& context_;
  int port_ = 0;
  // Before server_: the services must outlive it.
  std::unique_ptr<GenerationService> generation_;
  std::unique_ptr<ModelService> models_;
  std::unique_ptr<AdminService> admin_;
  std::unique_ptr<PrefixService> prefixes_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_GRPC_SERVER_H_
