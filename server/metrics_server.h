// The HTTP listener for operators: GET and HEAD of /metrics, /healthz and /readyz, and nothing
// else. A few threads of its own answer; a connection carries one request. One thread starts and
// destroys it.
#ifndef PREFIXD_SERVER_METRICS_SERVER_H_
#define PREFIXD_SERVER_METRICS_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/serving_context.h"

namespace prefixd {

class MetricsServer {
 public:
  // Listens on `context->options.metrics_listen`, which is not empty. `context` must outlive the
  // server. Errors: FAILED_PRECONDITION if the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const ServingContext* context);
  // Waits for the answers under way.
  ~MetricsServer();

  int port() const;

 private:
  struct Listener;

  explicit MetricsServer(std::unique_ptr<Listener> listener);

  const std::unique_ptr<Listener> listener_;
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_METRICS_SERVER_H_
