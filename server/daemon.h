// The life of the daemon: open the engine, listen, load weights, serve, drain, stop.
#ifndef PREFIXD_SERVER_DAEMON_H_
#define PREFIXD_SERVER_DAEMON_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "engine/engine.h"
#include "server/options.h"
#include "server/stop_signal.h"

namespace prefixd {

// Exit statuses (sysexits.h): 78 for what an operator must correct, 70 for an engine that failed.
inline constexpr int kExitOk = 0;
inline constexpr int kExitEngineFailed = 70;
inline constexpr int kExitConfig = 78;

// A second request to stop shortens whatever is waited for to this.
inline constexpr absl::Duration kShortDrain = absl::Seconds(2);

using EngineFactory = std::function<absl::StatusOr<std::unique_ptr<Engine>>(
    const EngineOptions& options, const Clock* clock)>;

// Reads the tenants file into the engine's options and its tokens; those alone are read again when
// a reload is asked for. Runs until `stop` is raised and what was accepted is done; returns the
// exit status. Errors are logged in one line. Reliability of the order: readiness goes off at once,
// calls are served for drain_delay, admission closes, accepted requests get drain_timeout, the
// server shuts down.
int RunDaemon(const ServerOptions& options, const EngineFactory& open_engine, const Clock* clock,
              StopSignal* stop);

}  // namespace prefixd

#endif  // PREFIXD_SERVER_DAEMON_H_
