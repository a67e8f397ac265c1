#include "client/client.h"

#include <algorithm>
#include <utility>

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "client/call_deadline.h"
#include "client/call_status.h"
#include "client/service_config.h"
#include "client/stubs.h"

namespace prefixd {
namespace {

constexpr size_t kMaxTokenBytes = 4096;

absl::Status CheckAddress(const std::string& server) {
  if (absl::StartsWith(server, "unix:") && server.size() > 5) return absl::OkStatus();
  const size_t colon = server.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(absl::string_view(server).substr(colon + 1), &port) || port < 1 ||
      port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(
        "server address \"", server, "\": expected HOST:PORT, with a port from 1 to 65535"));
  }
  const absl::string_view host = absl::string_view(server).substr(0, colon);
  const bool bracketed = host.front() == '[' && host.back() == ']';
  if (absl::StrContains(host, ":") && !bracketed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "server address \"", server, "\": an IPv6 address goes into brackets, as in [::1]:50051"));
  }
  return absl::OkStatus();
}

bool IsLocal(absl::string_view server) {
  if (absl::StartsWith(server, "unix:") || absl::StartsWith(server, "localhost:") ||
      absl::StartsWith(server, "[::1]:")) {
    return true;
  }
  // Digits only: 127.example.org is anybody's.
  const absl::string_view host = server.substr(0, server.rfind(':'));
  return absl::StartsWith(host, "127.") &&
         host.find_first_not_of("0123456789.") == absl::string_view::npos;
}

grpc::ChannelArguments ChannelArgumentsOf(const std::string& server, const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_message_bytes);
  arguments.SetMaxSendMessageSize(options.max_message_bytes);
  // Beyond this size (256 KiB unless set) a call is never retried: one picture would be enough.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, options.max_message_bytes);
  arguments.SetServiceConfigJSON(kServiceConfig);
  // A service config from DNS would replace ours.
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(options.keepalive)));
  const int backoff_ms = static_cast<int>(absl::ToInt64Milliseconds(options.reconnect_backoff));
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, backoff_ms);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // A proxy for the outside world does not know this machine.
  if (IsLocal(server)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

// What must hold before a token or a key is used with `server`.
absl::Status CheckSecrets(const std::string& server, const ClientOptions& options) {
  const TlsOptions& tls = options.tls;
  if (tls.cert.empty() != tls.key.empty()) {
    return absl::InvalidArgumentError("client options: a certificate and its key go together");
  }
  if (!tls.enabled && !(tls.ca.empty() && tls.cert.empty())) {
    return absl::InvalidArgumentError("client options: certificates are given, but TLS is off");
  }
  const bool printable =
      std::all_of(options.token.begin(), options.token.end(), absl::ascii_isgraph);
  if (options.token.size() > kMaxTokenBytes || !printable) {
    return absl::InvalidArgumentError(absl::StrCat("the token has ", options.token.size(),
                                                   " bytes; it must have at most ", kMaxTokenBytes,
                                                   ", printable and without spaces"));
  }
  if (!options.token.empty() && !tls.enabled && !options.insecure && !IsLocal(server)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the token would travel to ", server, " in plain text; use TLS"));
  }
  return absl::OkStatus();
}

void AddToken(const std::string& token, grpc::ClientContext* context) {
  if (!token.empty()) context->AddMetadata("authorization", absl::StrCat("Bearer ", token));
}

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& server,
                                           const ClientOptions& options) {
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  if (options.tls.enabled) {
    credentials = grpc::SslCredentials({.pem_root_certs = options.tls.ca,
                                        .pem_private_key = options.tls.key,
                                        .pem_cert_chain = options.tls.cert});
  } else {
    credentials = grpc::InsecureChannelCredentials();
  }
  return grpc::CreateCustomChannel(server, credentials, ChannelArgumentsOf(server, options));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const std::string& server,
                                                        const ClientOptions& options) {
  PREFIXD_RETURN_IF_ERROR(CheckAddress(server));
  if (options.max_message_bytes < 1 || options.keepalive < absl::Seconds(20) ||
      options.keepalive > absl::Hours(24) || options.reconnect_backoff < absl::Milliseconds(1) ||
      options.reconnect_backoff > absl::Hours(1)) {
    return absl::InvalidArgumentError(
        "client options: max_message_bytes must be positive, keepalive from 20 s to 24 h, "
        "reconnect_backoff from 1 ms to 1 h");
  }
  PREFIXD_RETURN_IF_ERROR(CheckSecrets(server, options));
  std::shared_ptr<grpc::Channel> channel = MakeChannel(server, options);
  std::shared_ptr<grpc::Channel> admin = channel;
  if (!options.admin_server.empty() && options.admin_server != server) {
    PREFIXD_RETURN_IF_ERROR(CheckAddress(options.admin_server));
    PREFIXD_RETURN_IF_ERROR(CheckSecrets(options.admin_server, options));
    admin = MakeChannel(options.admin_server, options);
  }
  return std::unique_ptr<Client>(new Client(std::move(channel), admin, options));
}

Client::Client(std::shared_ptr<grpc::Channel> channel, const std::shared_ptr<grpc::Channel>& admin,
               const ClientOptions& options)
    : channel_(std::move(channel)),
      options_(options),
      stubs_(std::make_shared<Stubs>(channel_, admin)),
      sent_images_(std::make_shared<SentImages>()) {}

Client::~Client() = default;

void Client::Prepare(absl::Duration timeout, grpc::ClientContext* context) const {
  SetTimeout(timeout, context);
  AddToken(options_.token, context);
}

absl::Status Client::CheckSize(size_t bytes) const {
  return CheckMessageSize(bytes, static_cast<size_t>(options_.max_message_bytes));
}

absl::StatusOr<std::unique_ptr<GenerateStream>> Client::Generate(const v1::GenerateRequest& request,
                                                                 absl::Duration timeout) {
  PREFIXD_RETURN_IF_ERROR(CheckSize(request.ByteSizeLong()));
  return std::make_unique<GenerateStream>(
      std::make_unique<OfferedRequest<v1::GenerateRequest>>(request, options_.image_digests,
                                                            sent_images_),
      [stubs = stubs_, token = options_.token](grpc::ClientContext* context,
                                               const v1::GenerateRequest& message) {
        AddToken(token, context);
        return stubs->generation.Generate(context, message);
      },
      timeout);
}

template <typename Request>
absl::Status Client::SendOffered(
    const Request& request, absl::Duration timeout,
    const std::function<grpc::Status(grpc::ClientContext*, const Request&)>& call) {
  PREFIXD_RETURN_IF_ERROR(CheckSize(request.ByteSizeLong()));
  OfferedRequest<Request> offered(request, options_.image_digests, sent_images_);
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    grpc::ClientContext context;
    Prepare(deadline - absl::Now(), &context);
    const absl::Status status = FromGrpcStatus(call(&context, offered.message()));
    if (status.ok()) offered.offer().Taken();
    if (!offered.offer().PutBack(status)) return status;
  }
}

// For the other files of this class.
template absl::Status Client::SendOffered(
    const v1::CreatePrefixRequest&, absl::Duration,
    const std::function<grpc::Status(grpc::ClientContext*, const v1::CreatePrefixRequest&)>&);
template absl::Status Client::SendOffered(
    const v1::ClassifyRequest&, absl::Duration,
    const std::function<grpc::Status(grpc::ClientContext*, const v1::ClassifyRequest&)>&);
template absl::Status Client::SendOffered(
    const v1::ScoreRequest&, absl::Duration,
    const std::function<grpc::Status(grpc::ClientContext*, const v1::ScoreRequest&)>&);
template absl::Status Client::SendOffered(
    const v1::CreateClassSetRequest&, absl::Duration,
    const std::function<grpc::Status(grpc::ClientContext*, const v1::CreateClassSetRequest&)>&);

absl::StatusOr<v1::CountTokensResponse> Client::CountTokens(const v1::CountTokensRequest& request) {
  v1::CountTokensResponse response;
  const std::function<grpc::Status(grpc::ClientContext*, const v1::CountTokensRequest&)> count =
      [&](grpc::ClientContext* context, const v1::CountTokensRequest& message) {
        return stubs_->generation.CountTokens(context, message, &response);
      };
  PREFIXD_RETURN_IF_ERROR(SendOffered(request, options_.unary_timeout, count));
  return response;
}

absl::StatusOr<std::vector<v1::Model>> Client::ListModels() {
  std::vector<v1::Model> models;
  v1::ListModelsRequest request;
  request.set_page_size(kListPageSize);
  for (int page = 0; page < kMaxListPages; ++page) {
    grpc::ClientContext context;
    Prepare(options_.unary_timeout, &context);
    v1::ListModelsResponse response;
    PREFIXD_RETURN_IF_ERROR(
        FromGrpcStatus(stubs_->models.ListModels(&context, request, &response)));
    models.insert(models.end(), response.models().begin(), response.models().end());
    if (response.next_page_token().empty()) return models;
    request.set_page_token(response.next_page_token());
  }
  return absl::DataLossError("the server's list of models has no end");
}

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::GetModelRequest request;
  request.set_name(name);
  v1::GetModelResponse response;
  PREFIXD_RETURN_IF_ERROR(FromGrpcStatus(stubs_->models.GetModel(&context, request, &response)));
  return response.model();
}

absl::StatusOr<v1::GetServerInfoResponse> Client::GetServerInfo() {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::GetServerInfoResponse response;
  PREFIXD_RETURN_IF_ERROR(FromGrpcStatus(stubs_->admin.GetServerInfo(&context, {}, &response)));
  return response;
}

absl::StatusOr<v1::GetCacheStatsResponse> Client::GetCacheStats() {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::GetCacheStatsResponse response;
  PREFIXD_RETURN_IF_ERROR(FromGrpcStatus(stubs_->admin.GetCacheStats(&context, {}, &response)));
  return response;
}

absl::StatusOr<v1::ListRequestsResponse> Client::ListRequests() {
  v1::ListRequestsResponse all;
  v1::ListRequestsRequest request;
  request.set_page_size(kListPageSize);
  for (int page = 0; page < kMaxListPages; ++page) {
    grpc::ClientContext context;
    Prepare(options_.unary_timeout, &context);
    v1::ListRequestsResponse response;
    PREFIXD_RETURN_IF_ERROR(
        FromGrpcStatus(stubs_->admin.ListRequests(&context, request, &response)));
    all.mutable_requests()->MergeFrom(response.requests());
    all.set_waiting(response.waiting());
    all.set_running(response.running());
    if (response.next_page_token().empty()) return all;
    request.set_page_token(response.next_page_token());
  }
  return absl::DataLossError("the server's list of requests has no end");
}

absl::Status Client::AbortRequest(const std::string& request_id, const std::string& tenant) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::AbortRequestRequest request;
  request.set_request_id(request_id);
  request.set_tenant(tenant);
  v1::AbortRequestResponse response;
  return FromGrpcStatus(stubs_->admin.AbortRequest(&context, request, &response));
}

absl::StatusOr<v1::FlushCacheResponse> Client::FlushCache(
    const std::optional<std::string>& tenant) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::FlushCacheRequest request;
  if (tenant) request.set_tenant(*tenant);
  v1::FlushCacheResponse response;
  PREFIXD_RETURN_IF_ERROR(FromGrpcStatus(stubs_->admin.FlushCache(&context, request, &response)));
  return response;
}

absl::StatusOr<v1::GetPageMapResponse> Client::GetPageMap(int32_t max_cells) {
  grpc::ClientContext context;
  Prepare(options_.unary_timeout, &context);
  v1::GetPageMapRequest request;
  request.set_max_cells(max_cells);
  v1::GetPageMapResponse response;
  PREFIXD_RETURN_IF_ERROR(FromGrpcStatus(stubs_->admin.GetPageMap(&context, request, &response)));
  return response;
}

absl::StatusOr<Health> Client::CheckHealth(const std::string& service) {
  return prefixd::CheckHealth(channel_, service, options_.unary_timeout);
}

absl::Status Client::WatchHealth(const std::string& service, absl::Duration timeout,
                                 const std::function<bool(Health)>& on_change) {
  return prefixd::WatchHealth(channel_, service, timeout, on_change);
}

}  // namespace prefixd
