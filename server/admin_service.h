// For whoever operates the server. Thread-safe.
#ifndef PREFIXD_SERVER_ADMIN_SERVICE_H_
#define PREFIXD_SERVER_ADMIN_SERVICE_H_

#include "prefixd/v1/admin_service.grpc.pb.h"
#include "server/serving_context.h"

namespace prefixd {

// GetServerInfoResponse.schema_revision; grows with every change of proto/.
inline constexpr int kSchemaRevision = 6;

class AdminService final : public v1::AdminService::CallbackService {
 public:
  // `context` must outlive the service.
  explicit AdminService(ServingContext* context) : context_(*context) {}

  grpc::ServerUnaryReactor* GetServerInfo(grpc::CallbackServerContext* call,
                                          const v1::GetServerInfoRequest* message,
                                          v1::GetServerInfoResponse* response) override;
  grpc::ServerUnaryReactor* GetCacheStats(grpc::CallbackServerContext* call,
                                          const v1::GetCacheStatsRequest* message,
                                          v1::GetCacheStatsResponse* response) override;
  grpc::ServerUnaryReactor* FlushCache(grpc::CallbackServerContext* call,
                                       const v1::FlushCacheRequest* message,
                                       v1::FlushCacheResponse* response) override;
  grpc::ServerUnaryReactor* GetPageMap(grpc::CallbackServerContext* call,
                                       const v1::GetPageMapRequest* message,
                                       v1::GetPageMapResponse* response) override;
  grpc::ServerUnaryReactor* ListRequests(grpc::CallbackServerContext* call,
                                         const v1::ListRequestsRequest* message,
                                         v1::ListRequestsResponse* response) override;
  grpc::ServerUnaryReactor* AbortRequest(grpc::CallbackServerContext* call,
                                         const v1::AbortRequestRequest* message,
                                         v1::AbortRequestResponse* response) override;
  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* call,
                                  const v1::DrainRequest* message,
                                  v1::DrainResponse* response) override;

 private:
  ServingContext& context_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_ADMIN_SERVICE_H_
