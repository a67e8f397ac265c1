// StepLoop: the quality guard's replays (docs/decisions.md, rule 21).
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "engine/step_loop.h"

namespace prefixd {

void StepLoop::Guard(ActiveRequest* request) {
  if (!request->guarded || request->first().served.empty()) return;
  if (request->retention.raises_before != guard_.raises()) {
    ++replays_dropped_;  // It says nothing about the budget that is in force by now.
    return;
  }
  ServedOutput output{.tenant = request->tenant,
                      .prompt = std::move(request->prompt),
                      .tokens = std::move(request->first().served)};
  if (!replay_.Add(std::move(output))) ++replays_dropped_;
}

bool StepLoop::ReplaySome() {
  if (!replay_.has_work()) return false;
  if (!waiting_.empty() || !running_.empty()) {
    replay_.Yield();
    return false;
  }
  const absl::StatusOr<std::optional<GuardComparison>> comparison = replay_.Step();
  ++steps_;
  if (!comparison.ok()) {
    ++replays_dropped_;
    PREFIXD_LOG(kInfo,
                "a replay of the quality guard was given up: ", comparison.status().message());
    return true;
  }
  if (!comparison->has_value()) return true;
  const double before = guard_.budget();
  if (guard_.Add(**comparison)) {
    replays_dropped_ += replay_.Clear();  // The same goes for those.
    PREFIXD_LOG(kWarn, "the quality guard raises default KV budgets, the lowest from ", before,
                " to ", guard_.budget(), ": agreement was ", guard_.judged_agreement(),
                ", log-probs were off by ", guard_.judged_drift(), " nats a token");
  }
  return true;
}

}  // namespace prefixd
