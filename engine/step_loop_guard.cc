// StepLoop: the quality guard's replays (docs/decisions.md, rule 21).
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "engine/step_loop.h"

namespace prefixd {

double StepLoop::budget_raise() const {
  return guard_.budget() - *options_.retention->defaults().budget;
}

void StepLoop::Guard(ActiveRequest* request) {
  if (!request->guarded || request->first().served.empty()) return;
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
  const double before = guard_.budget(), agreement = guard_.agreement(), drift = guard_.drift();
  if (guard_.Add(**comparison)) {
    PREFIXD_LOG(kWarn, "the quality guard raises the default KV budget from ", before, " to ",
                guard_.budget(), ": agreement was ", agreement, ", log-probs were off by ", drift,
                " nats a token");
  }
  return true;
}

}  // namespace prefixd
