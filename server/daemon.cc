#include "server/daemon.h"

#include <cstdlib>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/grpc_server.h"
#include "server/metrics_server.h"
#include "server/serving_context.h"
#include "server/tenants_file.h"

namespace prefixd {
namespace {

constexpr absl::Duration kForever = absl::Hours(24 * 365 * 100);
constexpr absl::Duration kProgressPeriod = absl::Seconds(5);
constexpr absl::Duration kStatePeriod = absl::Seconds(1);
constexpr absl::Duration kShutdownGrace = absl::Seconds(2);

int FailConfig(const absl::Status& status) {
  PREFIXD_LOG(kError, "cannot start: ", status.message());
  return kExitConfig;
}

absl::Status WritePortFile(const std::string& path, int port) {
  if (path.empty()) return absl::OkStatus();
  const std::string text = absl::StrCat(port, "\n");
  return WriteFileAtomically(
      path, absl::MakeSpan(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
}

void LogEngine(const Engine& engine) {
  const EngineRuntimeInfo& info = engine.runtime_info();
  PREFIXD_LOG(kInfo, "engine backend=", info.backend, " level=", info.level,
              " threads=", info.threads, " kv_dtype=", info.kv_dtype,
              " activation_dtype=", info.activation_dtype,
              " kv_memory_bytes=", info.kv_memory_bytes,
              info.device.empty() ? "" : absl::StrCat(" device=\"", info.device, "\""));
}

// Fills in the tenants of the engine. Returns their tokens, null if there is no tenants file.
absl::StatusOr<std::shared_ptr<const TokenTable>> LoadTenants(ServerOptions* options) {
  std::shared_ptr<const TokenTable> tokens;
  if (!options->tenants_file.empty()) {
    PREFIXD_ASSIGN_OR_RETURN(TenantsFile file, ReadTenantsFile(options->tenants_file));
    options->engine.tenants = std::move(file.tenants);
    tokens = std::move(file.tokens);
    PREFIXD_LOG(kInfo, "tenants=", options->engine.tenants.size(), " tokens=", tokens->size());
  }
  PREFIXD_RETURN_IF_ERROR(
      CheckAdminListener(*options, tokens != nullptr && tokens->has_operators()));
  return tokens;
}

void LogAdmin(const ServingContext& context) {
  if (!context.admin_listen.empty()) {
    PREFIXD_LOG(kInfo, "AdminService on ", context.admin_listen,
                context.auth.has_operators() ? " with operators' tokens" : "");
  } else if (!AdminOnDataListener(context.options)) {
    PREFIXD_LOG(kInfo, "AdminService is not served: there are tenants and no admin_listen");
  }
}

// Reads the weights, with a line of progress now and then. A request to stop gives up.
absl::Status LoadWeights(ServingContext* context, StopSignal* stop) {
  const absl::Time start = context->clock->Now();
  absl::Time last = start;
  PREFIXD_RETURN_IF_ERROR(context->engine->LoadWeights([&](uint64_t done, uint64_t total) {
    context->load_bytes_done = done;
    context->load_bytes_total = total;
    const absl::Time now = context->clock->Now();
    if (now - last >= kProgressPeriod && total > 0) {
      last = now;
      PREFIXD_LOG(kInfo, "loading weights done_bytes=", done, " total_bytes=", total, " percent=",
                  static_cast<int>(100.0 * static_cast<double>(done) / static_cast<double>(total)));
    }
    return stop->count() == 0;
  }));
  context->load_nanos = absl::ToInt64Nanoseconds(context->clock->Now() - start);
  PREFIXD_LOG(kInfo, "weights loaded bytes=", context->load_bytes_done.load(),
              " ms=", absl::ToInt64Milliseconds(context->clock->Now() - start));
  return absl::OkStatus();
}

// Returns null if no metrics are wanted.
absl::StatusOr<std::unique_ptr<MetricsServer>> StartMetrics(const ServingContext* context) {
  if (context->options.metrics_listen.empty()) return nullptr;
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<MetricsServer> server, MetricsServer::Start(context));
  PREFIXD_RETURN_IF_ERROR(WritePortFile(context->options.metrics_port_file, server->port()));
  PREFIXD_LOG(kInfo, "metrics on port ", server->port());
  return server;
}

// Takes what may change while the server runs. On an error everything stays as it was.
void Reload(ServingContext* context) {
  const ServerOptions& options = context->options;
  if (options.tenants_file.empty()) {
    PREFIXD_LOG(kInfo, "reload: there is no tenants file; TLS files are followed without a signal");
    return;
  }
  auto tokens =
      ReloadTokens(options.tenants_file, options.engine.tenants, context->auth.has_operators());
  if (!tokens.ok()) {
    PREFIXD_LOG(kError, "reload failed, the old tokens go on: ", tokens.status().message());
    return;
  }
  PREFIXD_LOG(kInfo, "reloaded ", options.tenants_file, " tokens=", (*tokens)->size());
  context->auth.Install(*std::move(tokens));
}

// Waits for a request to stop. Returns false if the engine failed first.
bool ServeUntilStopped(ServingContext* context, StopSignal* stop) {
  while (!stop->Wait(1, kStatePeriod)) {
    if (stop->TakeReload()) Reload(context);
    if (context->engine->Stats()->state == EngineState::kFailed) return false;
  }
  return true;
}

// Ends what was accepted: `timeout`, or kShortDrain after one more request to stop.
void DrainEngine(ServingContext* context, StopSignal* stop, absl::Duration timeout) {
  const absl::Time start = context->clock->Now();
  context->engine->Drain();
  bool drained = false;
  int cut = 0;
  std::thread waiter([&] {
    try {
      cut = context->engine->WaitDrained(timeout);
    } catch (const std::exception& e) {
      PREFIXD_LOG(kError, "drain ended: ", e.what());
    }
    stop->SetAndWake(&drained);
  });
  int cut_short = 0;
  if (stop->Wait(2, kForever, &drained)) {
    PREFIXD_LOG(kInfo, "second signal: draining for at most ", absl::FormatDuration(kShortDrain));
    cut_short = context->engine->WaitDrained(std::min(kShortDrain, timeout));
  }
  waiter.join();
  PREFIXD_LOG(kInfo, "drained cut=", cut + cut_short,
              " ms=", absl::ToInt64Milliseconds(context->clock->Now() - start));
}

}  // namespace

int RunDaemon(const ServerOptions& given, const EngineFactory& open_engine, const Clock* clock,
              StopSignal* stop) {
  const absl::Time start = clock->Now();
  ServerOptions options = given;
  const absl::StatusOr<std::shared_ptr<const TokenTable>> tokens = LoadTenants(&options);
  if (!tokens.ok()) return FailConfig(tokens.status());
  absl::StatusOr<std::unique_ptr<Engine>> engine = open_engine(options.engine, clock);
  if (!engine.ok()) return FailConfig(engine.status());
  ServingContext context(engine->get(), clock, options);
  context.start = start;
  context.wall_start = absl::Now();
  context.open_nanos = absl::ToInt64Nanoseconds(clock->Now() - start);
  if (*tokens != nullptr) context.auth.Install(*tokens);
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = GrpcServer::Start(&context);
  if (!server.ok()) return FailConfig(server.status());
  context.on_drain = [&] { (*server)->SetReady(false); };
  if (const absl::Status status = WritePortFile(options.port_file, (*server)->port());
      !status.ok()) {
    return FailConfig(status);
  }
  absl::StatusOr<std::unique_ptr<MetricsServer>> metrics = StartMetrics(&context);
  if (!metrics.ok()) return FailConfig(metrics.status());
  if (const absl::Status status = WritePortFile(options.admin_port_file, (*server)->admin_port());
      !status.ok()) {
    return FailConfig(status);
  }
  LogEngine(**engine);
  PREFIXD_LOG(kInfo, "listening on ", context.listen, " model=", (*engine)->model_info().name,
              " tls=", options.tls_cert.empty() ? "off" : "on");
  LogAdmin(context);

  const absl::Status loaded = LoadWeights(&context, stop);
  if (stop->count() > 0) {
    (*server)->Shutdown(absl::ZeroDuration());
    PREFIXD_LOG(kInfo, "stopped before serving");
    return kExitOk;
  }
  if (!loaded.ok()) return FailConfig(loaded);
  (*server)->SetReady(true);
  PREFIXD_LOG(kInfo, "ready in ",
              absl::FormatDuration(absl::Trunc(clock->Now() - start, absl::Milliseconds(1))));

  const bool healthy = ServeUntilStopped(&context, stop);
  (*server)->SetReady(false);
  if (healthy) {
    PREFIXD_LOG(kInfo, "stopping: serving on for ", absl::FormatDuration(options.drain_delay));
    stop->Wait(2, options.drain_delay);
    DrainEngine(&context, stop, options.drain_timeout);
  } else {
    PREFIXD_LOG(kError, "the engine failed; leaving for the supervisor to start afresh");
  }
  if ((*engine)->Hung()) {
    // Its thread never comes back, so neither streams nor the engine can be ended in order; clients
    // see UNAVAILABLE.
    std::_Exit(kExitEngineFailed);
  }
  (*server)->Shutdown(kShutdownGrace);
  PREFIXD_LOG(kInfo, "stopped");
  return healthy ? kExitOk : kExitEngineFailed;
}

}  // namespace prefixd
