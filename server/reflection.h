// gRPC reflection (which grpcurl needs) for some servers of a process and not for others.
#ifndef PREFIXD_SERVER_REFLECTION_H_
#define PREFIXD_SERVER_REFLECTION_H_

#include <grpcpp/server_builder.h>

namespace prefixd {

// Decides whether the server that `builder` makes serves reflection. Without this call it does: the
// library adds itself to every server of a process that links it.
void SetReflection(bool wanted, grpc::ServerBuilder* builder);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_REFLECTION_H_
