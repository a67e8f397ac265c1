// The gRPC server: listeners, services, health and reflection. One thread starts and stops it.
//
//              data listener                  admin listener (--admin-listen)
//   services   Generation, Classification,    Admin, health
//              Model, Prefix; Admin if there
//              are neither tenants nor an
//              admin listener; health
//   callers    tenants, if there are any      operators, if they have tokens
#ifndef PREFIXD_SERVER_GRPC_SERVER_H_
#define PREFIXD_SERVER_GRPC_SERVER_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/serving_context.h"

namespace prefixd {

class GrpcServer {
 public:
  // Listens as `context->options` say and answers at once; health says live and not ready. Sets
  // `context->listen`. `context` must outlive the server; its authenticator has its tokens already.
  // Errors: FAILED_PRECONDITION if an address cannot be listened on; those of LoadTls.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(ServingContext* context);
  // Ends what is left at once.
  ~GrpcServer();

  int port() const { return port_; }
  int admin_port() const { return admin_port_; }  // 0: there is no admin listener.

  // Whether "ready", "readiness", the services and `model/<name>` are SERVING. "", "live" and
  // "liveness" are from Start to Shutdown. Thread-safe.
  void SetReady(bool ready);

  // Refuses new calls, waits until the others are done or `grace` has passed, then cancels them.
  void Shutdown(absl::Duration grace);

 private:
  struct Services;
  struct Listener;

  explicit GrpcServer(ServingContext* context);

  ServingContext& context_;
  int port_ = 0;
  int admin_port_ = 0;
  // Before the listeners: services must outlive them.
  const std::unique_ptr<Services> services_;
  std::unique_ptr<Listener> data_;
  std::unique_ptr<Listener> admin_;  // Null: none.
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_GRPC_SERVER_H_
