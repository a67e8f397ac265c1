// What the services share. Outlives the gRPC server. Thread-safe.
#ifndef PREFIXD_SERVER_SERVING_CONTEXT_H_
#define PREFIXD_SERVER_SERVING_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "base/clock.h"
#include "engine/engine.h"
#include "server/auth.h"
#include "server/call_counts.h"
#include "server/options.h"
#include "server/request_limits.h"

namespace prefixd {

// Bounds what live calls hold together: messages that were received, and their number.
class CallBudget {
 public:
  CallBudget(uint64_t max_bytes, int64_t max_calls)
      : max_bytes_(max_bytes), max_calls_(max_calls) {}

  // Takes a place and `bytes`; false, and nothing taken, if either is used up.
  bool Take(uint64_t bytes) {
    if (calls_.fetch_add(1) >= max_calls_) {
      calls_.fetch_sub(1);
      return false;
    }
    if (bytes_.fetch_add(bytes) + bytes > max_bytes_) {
      Give(bytes);
      return false;
    }
    return true;
  }
  void Give(uint64_t bytes) {
    bytes_.fetch_sub(bytes);
    calls_.fetch_sub(1);
  }
  // Adds bytes to a place that was taken; Give returns them with it. There is no refusal: others
  // are refused instead.
  void Grow(uint64_t bytes) { bytes_.fetch_add(bytes); }

  uint64_t bytes() const { return bytes_.load(); }
  int64_t calls() const { return calls_.load(); }

 private:
  const uint64_t max_bytes_;
  const int64_t max_calls_;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<int64_t> calls_{0};
};

struct ServingContext {
  ServingContext(Engine* engine_in, const Clock* clock_in, const ServerOptions& options_in)
      : engine(engine_in),
        clock(clock_in),
        options(options_in),
        limits(LimitsFromOptions(options_in)),
        auth(clock_in),
        budget(options_in.max_connection_memory,
               2ll * (options_in.engine.max_queue + options_in.engine.max_running)) {}

  // The time for people: the wall clock's at the start of the process, and what has passed since.
  absl::Time WallNow() const { return wall_start + (clock->Now() - start); }

  // Constant after construction.
  Engine* const engine;
  const Clock* const clock;
  const ServerOptions options;
  const RequestLimits limits;
  std::function<void()> on_drain;  // What AdminService.Drain does beyond the engine.
  absl::Time wall_start;           // Of the process, for people.
  absl::Time start;                // The same on `clock`.
  std::string listen;              // With the port in force.
  std::string admin_listen;        // The same; empty: no admin listener.

  Authenticator auth;  // Its tokens are installed before the server starts.

  CallBudget budget;
  std::atomic<uint64_t> load_bytes_done{0};
  std::atomic<uint64_t> load_bytes_total{0};

  // For metrics.
  CallCounts calls;
  std::atomic<uint64_t> stream_stalls{0};  // Times that a reader was too slow for its stream.
  std::atomic<bool> ready{false};          // What readiness probes are told.
  std::atomic<int64_t> open_nanos{0};      // That opening the model took; 0: not yet known.
  std::atomic<int64_t> load_nanos{0};      // That reading the weights took; 0: not yet known.
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_SERVING_CONTEXT_H_
