// Durations of the protos.
#ifndef PREFIXD_CLIENT_PREFIXCTL_PROTO_TIME_H_
#define PREFIXD_CLIENT_PREFIXCTL_PROTO_TIME_H_

#include <google/protobuf/duration.pb.h>

#include "absl/time/time.h"

namespace prefixd::ctl {

inline absl::Duration ToDuration(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

inline double ToMillis(const google::protobuf::Duration& duration) {
  return absl::ToDoubleMilliseconds(ToDuration(duration));
}

}  // namespace prefixd::ctl

#endif  // PREFIXD_CLIENT_PREFIXCTL_PROTO_TIME_H_
