// The stubs of all services, AdminService over a channel of its own. Thread-safe.
#ifndef PREFIXD_CLIENT_STUBS_H_
#define PREFIXD_CLIENT_STUBS_H_

#include <memory>

#include <grpcpp/channel.h>

#include "client/client.h"
#include "prefixd/v1/admin_service.grpc.pb.h"
#include "prefixd/v1/classification_service.grpc.pb.h"
#include "prefixd/v1/generation_service.grpc.pb.h"
#include "prefixd/v1/model_service.grpc.pb.h"
#include "prefixd/v1/prefix_service.grpc.pb.h"

namespace prefixd {

// A list may have this many pages of this size; a server that never ends one is broken.
inline constexpr int kListPageSize = 1000;
inline constexpr int kMaxListPages = 1000;

struct Client::Stubs {
  Stubs(const std::shared_ptr<grpc::Channel>& data, const std::shared_ptr<grpc::Channel>& operators)
      : generation(data), models(data), admin(operators), prefixes(data), classification(data) {}

  v1::GenerationService::Stub generation;
  v1::ModelService::Stub models;
  v1::AdminService::Stub admin;
  v1::PrefixService::Stub prefixes;
  v1::ClassificationService::Stub classification;
};

}  // namespace prefixd

#endif  // PREFIXD_CLIENT_STUBS_H_
