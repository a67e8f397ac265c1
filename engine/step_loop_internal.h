// What the files of StepLoop and ThreadedEngine have in common.
#ifndef PREFIXD_ENGINE_STEP_LOOP_INTERNAL_H_
#define PREFIXD_ENGINE_STEP_LOOP_INTERNAL_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/error.h"
#include "base/planted_bug.h"
#include "engine/error_reasons.h"
#include "engine/sequence.h"

namespace prefixd {

// The shortest time after which a refused caller is asked to come back.
inline constexpr absl::Duration kLeastRetryHint = absl::Milliseconds(100);

inline bool UsesPenalties(const SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
         params.frequency_penalty != 0.0f;
}

inline absl::Status Stopped(StopCause cause) {
  if (cause == StopCause::kDraining) {
    return MakeError(absl::StatusCode::kUnavailable, "the server is shutting down",
                     ErrorDetail{.reason = reason::kDraining, .retry_after = absl::Seconds(1)});
  }
  return MakeError(absl::StatusCode::kCancelled, reason::kCancelled, "the request was cancelled");
}

inline absl::Status PoolPinned() {
  return MakeError(absl::StatusCode::kResourceExhausted, reason::kKvCacheFull,
                   "pinned prefixes leave too few pages of KV cache");
}

// Among waiting requests: priority, then arrival.
inline bool WaitsBefore(const std::unique_ptr<ActiveRequest>& a,
                        const std::unique_ptr<ActiveRequest>& b) {
  if (a->request.priority != b->request.priority && !PREFIXD_PLANTED(kPriorityIgnored)) {
    return a->request.priority > b->request.priority;
  }
  return a->arrival < b->arrival;
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_STEP_LOOP_INTERNAL_H_
