// What WriteKv and PagedAttention of every backend require of a segment that is a tree; a violation
// is a bug and ends the process.
#ifndef PREFIXD_ENGINE_BACKEND_CHECK_TREE_H_
#define PREFIXD_ENGINE_BACKEND_CHECK_TREE_H_

#include <cstdint>

#include "base/check.h"
#include "engine/backend/backend.h"

namespace prefixd {

// Paths of slots behind the context and within the pages, each with its row's slot at the end, and
// none of what does not go with a tree. Requires: segment.is_tree().
inline void CheckTree(const KvSegment& segment) {
  const int64_t num_rows = segment.num_rows;
  const int64_t num_slots = static_cast<int64_t>(segment.pages.size()) * kPageSlots;
  PREFIXD_CHECK(segment.sums == nullptr && segment.visible_prefix == 0);
  PREFIXD_CHECK(segment.first_visible >= 1 && segment.first_visible <= num_slots);
  PREFIXD_CHECK(static_cast<int64_t>(segment.write_slots.size()) == num_rows);
  const auto begins = segment.path_begins;
  PREFIXD_CHECK(static_cast<int64_t>(begins.size()) == num_rows + 1);
  PREFIXD_CHECK(begins.front() >= 0 &&
                begins.back() <= static_cast<int64_t>(segment.path_slots.size()));
  for (int64_t i = 0; i < num_rows; ++i) {
    // Distinct slots behind the context: no more than there are.
    PREFIXD_CHECK(begins[i] < begins[i + 1] &&
                  begins[i + 1] - begins[i] <= num_slots - segment.first_visible);
    PREFIXD_CHECK(segment.path_slots[begins[i + 1] - 1] == segment.write_slots[i]);
    for (int32_t j = begins[i]; j < begins[i + 1]; ++j) {
      PREFIXD_CHECK(segment.path_slots[j] >= segment.first_visible &&
                    segment.path_slots[j] < num_slots);
    }
  }
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_CHECK_TREE_H_
