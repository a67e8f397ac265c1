// Counts the bad tokens of each peer, so that one that guesses is refused before its tokens are
// looked at. Thread-safe.
#ifndef PREFIXD_SERVER_FAILURE_LIMIT_H_
#define PREFIXD_SERVER_FAILURE_LIMIT_H_

#include <cstddef>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace prefixd {

// Returns what of gRPC's name of a peer ("ipv4:10.0.0.7:41234") is counted: the address, without
// the port. From loopback the port stays: behind a proxy on this machine one client must not lock
// out the others.
std::string PeerKey(absl::string_view peer);

class FailureLimit {
 public:
  static constexpr int kMaxFailures = 10;  // In a window.
  static constexpr absl::Duration kWindow = absl::Seconds(1);
  // Peers with failures in the last window. Further ones are not counted, which bounds the memory
  // and locks nobody out.
  static constexpr size_t kMaxPeers = 4096;

  // Whether `peer` used up its failures.
  bool Exceeded(const std::string& peer, absl::Time now) const;
  // Counts a failure. Returns true for the one that uses up the allowance.
  bool Count(const std::string& peer, absl::Time now);

 private:
  struct Window {
    absl::Time start;
    int failures = 0;
  };

  mutable Mutex mutex_;
  std::unordered_map<std::string, Window> peers_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_sweep_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace prefixd

#endif  // PREFIXD_SERVER_FAILURE_LIMIT_H_
