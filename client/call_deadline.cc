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

}  // namespace prefixd
