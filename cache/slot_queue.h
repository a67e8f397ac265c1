// The slots of one layer that new tokens may take over, oldest first. A queue in one vector: slots
// leave at the front and come in at the back, both in amortised O(1). Engine thread only.
#ifndef PREFIXD_CACHE_SLOT_QUEUE_H_
#define PREFIXD_CACHE_SLOT_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/check.h"

namespace prefixd {

class SlotQueue {
 public:
  bool empty() const { return first_ == slots_.size(); }
  absl::Span<const int32_t> slots() const { return absl::MakeConstSpan(slots_).subspan(first_); }

  void Push(int32_t slot) { slots_.push_back(slot); }

  // Requires: not empty.
  int32_t Pop() {
    PREFIXD_CHECK(!empty());
    const int32_t slot = slots_[first_++];
    if (first_ * 2 > slots_.size()) {
      slots_.erase(slots_.begin(), slots_.begin() + static_cast<ptrdiff_t>(first_));
      first_ = 0;
    }
    return slot;
  }

 private:
  std::vector<int32_t> slots_;
  size_t first_ = 0;  // Slots before it have left.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_SLOT_QUEUE_H_
