#include "cache/ghost_keys.h"

namespace prefixd {

void GhostKeys::Add(uint64_t tag) {
  if (capacity_ == 0) return;
  if (ring_.size() < capacity_) {
    ring_.push_back(tag);
    places_[tag] = ring_.size() - 1;
    return;
  }
  const auto oldest = places_.find(ring_[next_]);
  if (oldest != places_.end() && oldest->second == next_) places_.erase(oldest);
  ring_[next_] = tag;
  places_[tag] = next_;
  next_ = (next_ + 1) % capacity_;
}

}  // namespace prefixd
