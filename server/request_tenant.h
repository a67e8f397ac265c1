// Whose call it is.
#ifndef PREFIXD_SERVER_REQUEST_TENANT_H_
#define PREFIXD_SERVER_REQUEST_TENANT_H_

#include <string>

#include <grpcpp/server_context.h>

namespace prefixd {

// The tenant of a call; empty, the single tenant.
inline std::string TenantOf(const grpc::ServerContextBase&) { return ""; }

}  // namespace prefixd

#endif  // PREFIXD_SERVER_REQUEST_TENANT_H_
