#include "server/grpc_server.h"

#include <algorithm>
#include <string>

#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
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
#include "server/generation_service.h"
#include "server/model_service.h"
#include "server/prefix_service.h"

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

}  // namespace

GrpcServer::GrpcServer(ServingContext* context)
    : context_(*context),
      generation_(std::make_unique<GenerationService>(context)),
      models_(std::make_unique<ModelService>(context)),
      admin_(std::make_unique<AdminService>(context)),
      prefixes_(std::make_unique<PrefixService>(context)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(ServingContext* context) {
  gpr_set_log_function(LogFromGrpc);
  PREFIXD_ASSIGN_OR_RETURN(const ListenAddress address,
                           ParseListenAddress(context->options.listen));
  grpc::EnableDefaultHealthCheckService(true);
  // The plugin belongs to the process: it is added once, and speaks only where it is wanted.
  static const bool reflection = [&] {
    if (context->options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return context->options.reflection;
  }();
  if (reflection != context->options.reflection) {
    return absl::FailedPreconditionError("reflection cannot change within a process");
  }
  std::unique_ptr<GrpcServer> server(new GrpcServer(context));
  grpc::ServerBuilder builder;
  SetConnectionArguments(context->options, &builder);
  builder.AddListeningPort(FormatAddress(address, address.port), grpc::InsecureServerCredentials(),
                           &server->port_);
  builder.RegisterService(server->generation_.get());
  builder.RegisterService(server->models_.get());
  builder.RegisterService(server->admin_.get());
  builder.RegisterService(server->prefixes_.get());
  CountCalls(&context->calls, &builder);
  server->server_ = builder.BuildAndStart();
  if (server->server_ == nullptr || server->port_ <= 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "listen: cannot listen on ", context->options.listen, "; is the address in use?"));
  }
  context->listen = FormatAddress(address, server->port_);
  for (const char* name : {"", "live", "liveness"}) {
    server->server_->GetHealthCheckService()->SetServingStatus(name, true);
  }
  server->SetReady(false);
  return server;
}

GrpcServer::~GrpcServer() {
  if (server_ != nullptr) Shutdown(absl::ZeroDuration());
}

void GrpcServer::SetReady(bool ready) {
  context_.ready = ready;
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  for (const std::string& name : {std::string("ready"), std::string("readiness"),
                                  std::string(v1::GenerationService::service_full_name()),
                                  std::string(v1::ModelService::service_full_name()),
                                  std::string(v1::AdminService::service_full_name()),
                                  std::string(v1::PrefixService::service_full_name()),
                                  absl::StrCat("model/", context_.engine->model_info().name)}) {
    health->SetServingStatus(name, ready);
  }
}

void GrpcServer::Shutdown(absl::Duration grace) {
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  server_->Wait();
}

}  // namespace prefixd
