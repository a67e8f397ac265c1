#include "server/grpc_server.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <grpc/support/log.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/admin_service.h"
#include "server/classification_service.h"
#include "server/generation_service.h"
#include "server/guarded_services.h"
#include "server/model_service.h"
#include "server/prefix_service.h"
#include "server/reflection.h"
#include "server/stream_watch.h"
#include "server/tls_credentials.h"

namespace prefixd {
namespace {

constexpr int kMaxSendBytes = 8 << 20;
constexpr int kMaxMetadataBytes = 8192;

// gRPC's own log goes to ours; what it says concerns connections, not the operator.
void LogFromGrpc(gpr_log_func_args* args) { PREFIXD_LOG(kDebug, "grpc ", args->message); }

void SetConnectionArguments(const ServerOptions& options, grpc::ServerBuilder* builder) {
  const struct {
    const char* name;
    int value;
  } arguments[] = {
      {"grpc.max_metadata_size", kMaxMetadataBytes},
      {"grpc.max_concurrent_streams", options.max_streams},
      // Small frames interleave fairly; small tables and buffers bound what a connection holds.
      {"grpc.http2.max_frame_size", 16384},
      {"grpc.http2.hpack_table_size.decoder", 4096},
      {"grpc.http2.write_buffer_size", 65536},
      {"grpc.http2.lookahead_bytes", 65536},
      // A long prefill sends nothing: our pings must not be counted against data.
      {"grpc.keepalive_time_ms", 30000},
      {"grpc.keepalive_timeout_ms", 10000},
      {"grpc.http2.max_pings_without_data", 0},
      {"grpc.keepalive_permit_without_calls", 0},
      {"grpc.http2.min_ping_interval_without_data_ms", 20000},
      {"grpc.http2.max_ping_strikes", 2},
      {"grpc.max_connection_idle_ms", 300000},
      // The grace is longer than the longest deadline by default.
      {"grpc.max_connection_age_ms", 3600000},
      {"grpc.max_connection_age_grace_ms", 660000},
      {"grpc.server_handshake_timeout_ms", 10000},
      // A second daemon on the same port must fail, not share it.
      {"grpc.so_reuseport", 0},
      // No compression in either direction: no bombs, no oracle over secrets.
      {"grpc.compression_enabled_algorithms_bitset", 1},
      {"grpc.per_message_decompression", 0},
      {"grpc.default_compression_algorithm", 0},
      {"grpc.default_compression_level", 0},
      {"grpc.enable_channelz", 0},
      {"grpc.experimental.tcp_tx_zerocopy_enabled", 0},
  };
  for (const auto& argument : arguments) {
    builder->AddChannelArgument(argument.name, argument.value);
  }
  builder->SetMaxReceiveMessageSize(static_cast<int>(options.max_request_bytes));
  builder->SetMaxSendMessageSize(kMaxSendBytes);
  grpc::ResourceQuota quota("connections");
  quota.Resize(options.max_connection_memory);
  builder->SetResourceQuota(quota);
}

std::string FormatAddress(const ListenAddress& address, int port) {
  const bool v6 = address.host.find(':') != std::string::npos;
  return absl::StrCat(v6 ? "[" : "", address.host, v6 ? "]" : "", ":", port);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const ServerOptions& options) {
  if (options.tls_cert.empty()) return grpc::InsecureServerCredentials();
  return MakeTlsCredentials(
      {.cert = options.tls_cert, .key = options.tls_key, .client_ca = options.tls_client_ca});
}

}  // namespace

// The services, and the guards that stand before them.
struct GrpcServer::Services {
  explicit Services(ServingContext* context)
      : watch(context->clock, std::min(absl::Seconds(1), context->options.slow_reader_timeout / 4)),
        generation(context, &watch),
        classification(context, &watch),
        models(context),
        prefixes(context),
        admin(context),
        guarded_generation(&generation, &context->auth),
        guarded_classification(&classification, &context->auth),
        guarded_models(&models, &context->auth),
        guarded_prefixes(&prefixes, &context->auth),
        guarded_admin(&admin, &context->auth) {}

  StreamWatch watch;
  GenerationService generation;
  ClassificationService classification;
  ModelService models;
  PrefixService prefixes;
  AdminService admin;
  GuardedGenerationService guarded_generation;
  GuardedClassificationService guarded_classification;
  GuardedModelService guarded_models;
  GuardedPrefixService guarded_prefixes;
  GuardedAdminService guarded_admin;
};

// One address with what is served there. Ends what is left at once when destroyed.
struct GrpcServer::Listener {
  // `services` must outlive the listener. `option` stands in errors.
  static absl::StatusOr<std::unique_ptr<Listener>> Start(
      ServingContext* context, absl::string_view option, const std::string& listen, bool reflection,
      const std::vector<grpc::Service*>& services) {
    const ServerOptions& options = context->options;
    PREFIXD_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(listen));
    auto listener = std::make_unique<Listener>();
    PREFIXD_ASSIGN_OR_RETURN(listener->credentials, MakeCredentials(options));
    grpc::ServerBuilder builder;
    SetReflection(reflection, &builder);
    SetConnectionArguments(options, &builder);
    builder.AddListeningPort(FormatAddress(address, address.port), listener->credentials,
                             &listener->port);
    for (grpc::Service* service : services) builder.RegisterService(service);
    CountCalls(&context->calls, &builder);
    listener->server = builder.BuildAndStart();
    if (listener->server == nullptr || listener->port <= 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(option, ": cannot listen on ", listen, "; is the address in use?"));
    }
    listener->address = FormatAddress(address, listener->port);
    for (const char* name : {"", "live", "liveness"}) listener->SetHealth(name, true);
    return listener;
  }
  ~Listener() {
    if (server != nullptr) Shutdown(absl::ZeroDuration());
  }

  void SetHealth(const std::string& name, bool serving) {
    server->GetHealthCheckService()->SetServingStatus(name, serving);
  }
  void Shutdown(absl::Duration grace) {
    server->Shutdown(absl::ToChronoTime(absl::Now() + grace));
    server->Wait();
  }

  std::shared_ptr<grpc::ServerCredentials> credentials;  // gRPC keeps a part of them only.
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::string address;  // With the port in force.
};

GrpcServer::GrpcServer(ServingContext* context)
    : context_(*context), services_(std::make_unique<Services>(context)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(ServingContext* context) {
  gpr_set_log_function(LogFromGrpc);
  grpc::EnableDefaultHealthCheckService(true);
  const ServerOptions& options = context->options;
  std::unique_ptr<GrpcServer> server(new GrpcServer(context));
  Services* const services = server->services_.get();
  std::vector<grpc::Service*> on_data = {&services->guarded_generation,
                                         &services->guarded_classification,
                                         &services->guarded_models, &services->guarded_prefixes};
  if (AdminOnDataListener(options)) on_data.push_back(&services->guarded_admin);
  // Tenants are not shown what else there is.
  const bool reflection = options.reflection && !context->auth.has_tenants();
  PREFIXD_ASSIGN_OR_RETURN(server->data_,
                           Listener::Start(context, "listen", options.listen, reflection, on_data));
  server->port_ = server->data_->port;
  context->listen = server->data_->address;
  if (!options.admin_listen.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(server->admin_,
                             Listener::Start(context, "admin_listen", options.admin_listen,
                                             /*reflection=*/false, {&services->guarded_admin}));
    server->admin_port_ = server->admin_->port;
    context->admin_listen = server->admin_->address;
  }
  server->SetReady(false);
  return server;
}

GrpcServer::~GrpcServer() = default;

void GrpcServer::SetReady(bool ready) {
  context_.ready = ready;
  const std::string model = absl::StrCat("model/", context_.engine->model_info().name);
  for (Listener* listener : {data_.get(), admin_.get()}) {
    if (listener == nullptr) continue;
    for (const std::string& name : {std::string("ready"), std::string("readiness"), model}) {
      listener->SetHealth(name, ready);
    }
  }
  data_->SetHealth(v1::GenerationService::service_full_name(), ready);
  data_->SetHealth(v1::ClassificationService::service_full_name(), ready);
  data_->SetHealth(v1::ModelService::service_full_name(), ready);
  data_->SetHealth(v1::PrefixService::service_full_name(), ready);
  Listener* const with_admin = AdminOnDataListener(context_.options) ? data_.get() : admin_.get();
  if (with_admin != nullptr) {
    with_admin->SetHealth(v1::AdminService::service_full_name(), ready);
  }
}

void GrpcServer::Shutdown(absl::Duration grace) {
  data_->Shutdown(grace);
  if (admin_ != nullptr) admin_->Shutdown(absl::ZeroDuration());
}

}  // namespace prefixd
