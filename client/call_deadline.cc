#include "client/call_deadline.h"

#include <algorithm>
#include <chrono>

namespace prefixd {

void SetTimeout(absl::Duration timeout, grpc::ClientContext* context) {
  if (timeout == absl::InfiniteDuration()) return;
  // A year is as good as any longer time and cannot overflow the clock.
  const absl::Duration capped = std::min(timeout, absl::Hours(24 * 365));
  context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(capped));
}

void SetProto(absl::Duration duration, google::protobuf::Duration* out) {
  constexpr absl::Duration kLongest = absl::Seconds(315'576'000'000);
  absl::Duration rest;
  out->set_seconds(
      absl::IDivDuration(std::clamp(duration, -kLongest, kLongest), absl::Seconds(1), &rest));
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(rest)));
}

}  // namespace prefixd
