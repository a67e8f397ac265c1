// Pinned prefixes. Thread-safe; calls into the engine do not block.
#ifndef PREFIXD_SERVER_PREFIX_SERVICE_H_
#define PREFIXD_SERVER_PREFIX_SERVICE_H_

#include <string>

#include "absl/status/statusor.h"
#include "prefixd/v1/prefix_service.grpc.pb.h"
#include "server/serving_context.h"

namespace prefixd {

class PrefixService final : public v1::PrefixService::CallbackService {
 public:
  // `context` must outlive the service.
  explicit PrefixService(ServingContext* context) : context_(*context) {}

  grpc::ServerUnaryReactor* CreatePrefix(grpc::CallbackServerContext* call,
                                         const v1::CreatePrefixRequest* message,
                                         v1::CreatePrefixResponse* response) override;
  grpc::ServerUnaryReactor* GetPrefix(grpc::CallbackServerContext* call,
                                      const v1::GetPrefixRequest* message,
                                      v1::GetPrefixResponse* response) override;
  grpc::ServerUnaryReactor* ListPrefixes(grpc::CallbackServerContext* call,
                                         const v1::ListPrefixesRequest* message,
                                         v1::ListPrefixesResponse* response) override;
  grpc::ServerUnaryReactor* TouchPrefix(grpc::CallbackServerContext* call,
                                        const v1::TouchPrefixRequest* message,
                                        v1::TouchPrefixResponse* response) override;
  grpc::ServerUnaryReactor* ReleasePrefix(grpc::CallbackServerContext* call,
                                          const v1::ReleasePrefixRequest* message,
                                          v1::ReleasePrefixResponse* response) override;

 private:
  // Whose call it is; empty: the single tenant. The one place that knows.
  absl::StatusOr<std::string> TenantOf(const grpc::ServerContextBase& call) const;

  void Fill(const PrefixInfo& prefix, v1::Prefix* out) const;

  ServingContext& context_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_PREFIX_SERVICE_H_
