#include "server/failure_limit.h"

#include "absl/strings/match.h"

namespace prefixd {

std::string PeerKey(absl::string_view peer) {
  // gRPC writes "ipv6:%5B::1%5D:41234".
  const bool loopback = absl::StartsWith(peer, "ipv4:127.") ||
                        absl::StartsWith(peer, "ipv6:[::1]") ||
                        absl::StartsWith(peer, "ipv6:%5B::1%5D");
  if (loopback) return std::string(peer);
  return std::string(peer.substr(0, peer.rfind(':')));
}

bool FailureLimit::Exceeded(const std::string& peer, absl::Time now) const {
  MutexLock lock(&mutex_);
  const auto found = peers_.find(peer);
  return found != peers_.end() && found->second.failures >= kMaxFailures &&
         now - found->second.start < kWindow;
}

bool FailureLimit::Count(const std::string& peer, absl::Time now) {
  MutexLock lock(&mutex_);
  const auto over = [&](const Window& window) { return now - window.start >= kWindow; };
  auto found = peers_.find(peer);
  if (found == peers_.end()) {
    if (peers_.size() >= kMaxPeers && now >= next_sweep_) {
      // At most once a window: sweeping for each new peer would cost more than the peers do.
      std::erase_if(peers_, [&](const auto& entry) { return over(entry.second); });
      next_sweep_ = now + kWindow;
    }
    if (peers_.size() >= kMaxPeers) return false;
    found = peers_.emplace(peer, Window{.start = now}).first;
  }
  Window& window = found->second;
  if (over(window)) window = {.start = now};
  return ++window.failures == kMaxFailures;
}

}  // namespace prefixd
