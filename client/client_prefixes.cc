// The part of Client that speaks to PrefixService.
#include <grpcpp/client_context.h>

#include "base/status_macros.h"
#include "client/call_deadline.h"
#include "client/call_status.h"
#include "client/client.h"
#include "client/stubs.h"

namespace prefixd {

absl::StatusOr<v1::Prefix> Client::CreatePrefix(const v1::CreatePrefixRequest& request,
                                                absl::Duration timeout) {
  v1::CreatePrefixResponse response;
  const std::function<grpc::Status(grpc::ClientContext*, const v1::CreatePrefixRequest&)> create =
      [&](grpc::ClientContext* context, const v1::CreatePrefixRequest& message) {
        return stubs_->prefixes.CreatePrefix(context, message, &response);
      };
  PREFIXD_RETURN_IF_ERROR(SendOffered(request, timeout, create));
  return response.prefix();
}

absl::StatusOr<v1::Prefix> Client::GetPrefix(const std::string& name) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::GetPrefixRequest request;
  request.set_name(name);
  v1::GetPrefixResponse response;
  PREFIXD_RETURN_IF_ERROR(FromGrpcStatus(stubs_->prefixes.GetPrefix(&context, request, &response)));
  return response.prefix();
}

absl::StatusOr<std::vector<v1::Prefix>> Client::ListPrefixes() {
  std::vector<v1::Prefix> prefixes;
  v1::ListPrefixesRequest request;
  request.set_page_size(kListPageSize);
  for (int page = 0; page < kMaxListPages; ++page) {
    grpc::ClientContext context;
    Prepare(options_.unary_timeout, &context);
    v1::ListPrefixesResponse response;
    PREFIXD_RETURN_IF_ERROR(
        FromGrpcStatus(stubs_->prefixes.ListPrefixes(&context, request, &response)));
    prefixes.insert(prefixes.end(), response.prefixes().begin(), response.prefixes().end());
    if (response.next_page_token().empty()) return prefixes;
    request.set_page_token(response.next_page_token());
  }
  return absl::DataLossError("the server's list of prefixes has no end");
}

absl::StatusOr<v1::Prefix> Client::TouchPrefix(const std::string& name,
                                               std::optional<absl::Duration> ttl) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::TouchPrefixRequest request;
  request.set_name(name);
  if (ttl) SetProto(*ttl, request.mutable_ttl());
  v1::TouchPrefixResponse response;
  PREFIXD_RETURN_IF_ERROR(
      FromGrpcStatus(stubs_->prefixes.TouchPrefix(&context, request, &response)));
  return response.prefix();
}

absl::Status Client::ReleasePrefix(const std::string& name) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::ReleasePrefixRequest request;
  request.set_name(name);
  v1::ReleasePrefixResponse response;
  return FromGrpcStatus(stubs_->prefixes.ReleasePrefix(&context, request, &response));
}

}  // namespace prefixd
