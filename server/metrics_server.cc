#include "server/metrics_server.h"

#include <civetweb.h>

#include <atomic>
#include <exception>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "server/metrics.h"

namespace prefixd {
namespace {

// What a slow or idle peer can hold: one of these threads, for this long. More connections wait in
// the queue, then in the kernel's.
constexpr char kNumThreads[] = "4";
constexpr char kQueueLength[] = "16";
constexpr char kTimeoutMs[] = "2000";
constexpr char kMaxRequestBytes[] = "8192";

constexpr int kMaxWakes = 1000;

struct Reply {
  int code = 200;
  absl::string_view phrase = "OK";
  absl::string_view type = "text/plain; charset=utf-8";
  absl::string_view more_headers;
  std::string body;
};

absl::string_view StateName(EngineState state) {
  switch (state) {
    case EngineState::kLoading:
      return "loading";
    case EngineState::kServing:
      return "starting or stopping";
    case EngineState::kDraining:
    case EngineState::kStopped:
      return "draining";
    case EngineState::kFailed:
      return "failed";
  }
  return "unknown";
}

Reply Ready(const ServingContext& context) {
  const EngineState state = context.engine->Stats()->state;
  if (context.ready && state == EngineState::kServing) return {.body = "ready\n"};
  return {.code = 503,
          .phrase = "Service Unavailable",
          .body = absl::StrCat("not ready: ", StateName(state), "\n")};
}

Reply Answer(const ServingContext& context, absl::string_view method, absl::string_view path) {
  const bool known = path == "/metrics" || path == "/healthz" || path == "/readyz";
  if (!known) {
    return {.code = 404, .phrase = "Not Found", .body = "see /metrics, /healthz, /readyz\n"};
  }
  if (method != "GET" && method != "HEAD") {
    return {.code = 405,
            .phrase = "Method Not Allowed",
            .more_headers = "Allow: GET, HEAD\r\n",
            .body = "only GET and HEAD\n"};
  }
  if (path == "/healthz") return {.body = "ok\n"};
  if (path == "/readyz") return Ready(context);
  return {.type = "text/plain; version=0.0.4; charset=utf-8", .body = MetricsText(context)};
}

// Called by civetweb's threads. Returns the status code: the request is answered.
int OnRequest(mg_connection* connection) {
  const mg_request_info* const request = mg_get_request_info(connection);
  const auto& context = *static_cast<const ServingContext*>(request->user_data);
  const auto text = [](const char* value) { return absl::NullSafeStringView(value); };
  Reply reply;
  try {
    reply = Answer(context, text(request->request_method), text(request->local_uri));
  } catch (const std::exception& e) {
    PREFIXD_LOG(kError, "metrics: ", e.what());
    reply = {.code = 500, .phrase = "Internal Server Error"};
  }
  std::string out = absl::StrCat(
      "HTTP/1.1 ", reply.code, " ", reply.phrase, "\r\nContent-Type: ", reply.type,
      "\r\nContent-Length: ", reply.body.size(), "\r\nCache-Control: no-store\r\n",
      "X-Content-Type-Options: nosniff\r\nConnection: close\r\n", reply.more_headers, "\r\n");
  if (text(request->request_method) != "HEAD") absl::StrAppend(&out, reply.body);
  mg_write(connection, out.data(), out.size());
  return reply.code;
}

// civetweb's own log goes to ours: it concerns connections.
int OnLog(const mg_connection*, const char* message) {
  PREFIXD_LOG(kDebug, "metrics ", message);
  return 1;
}

}  // namespace

struct MetricsServer::Listener {
  Listener() { mg_init_library(0); }
  ~Listener() {
    if (context != nullptr) Stop();
    mg_exit_library();
  }

  // civetweb notices that it shall stop when a connection comes, else within two seconds: so
  // connections come until it no longer listens.
  void Stop() {
    std::atomic<bool> stopped{false};
    std::thread stopper([&] {
      mg_stop(context);
      stopped = true;
    });
    char error[128];
    for (int i = 0; i < kMaxWakes && !stopped; ++i) {
      mg_connection* const wake = mg_connect_client(host.c_str(), port, 0, error, sizeof(error));
      if (wake == nullptr) break;
      mg_close_connection(wake);
    }
    stopper.join();
  }

  mg_context* context = nullptr;
  std::string host;
  int port = 0;
};

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(const ServingContext* context) {
  const std::string& listen = context->options.metrics_listen;
  PREFIXD_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(listen));
  auto listener = std::make_unique<Listener>();
  listener->host = address.host;
  const char* options[] = {"listening_ports",
                           listen.c_str(),
                           "num_threads",
                           kNumThreads,
                           "connection_queue",
                           kQueueLength,
                           "request_timeout_ms",
                           kTimeoutMs,
                           "max_request_size",
                           kMaxRequestBytes,
                           "enable_keep_alive",
                           "no",
                           "tcp_nodelay",
                           "1",
                           nullptr};
  mg_callbacks callbacks{};
  callbacks.begin_request = &OnRequest;
  callbacks.log_message = &OnLog;
  mg_init_data init{};
  init.callbacks = &callbacks;
  init.user_data = const_cast<ServingContext*>(context);  // Given back as it was.
  init.configuration_options = options;
  char text[256] = "";
  unsigned code = 0;
  mg_error_data error{.code = &code, .text = text, .text_buffer_size = sizeof(text)};
  listener->context = mg_start2(&init, &error);
  mg_server_port port{};
  if (listener->context == nullptr || mg_get_server_ports(listener->context, 1, &port) != 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("metrics_listen: cannot listen on ", listen, "; is the address in use?"));
  }
  listener->port = port.port;
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(listener)));
}

MetricsServer::MetricsServer(std::unique_ptr<Listener> listener) : listener_(std::move(listener)) {}

MetricsServer::~MetricsServer() = default;

int MetricsServer::port() const { return listener_->port; }

}  // namespace prefixd
