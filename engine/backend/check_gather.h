// What GatherSlots of every backend requires of its caller; a violation is a bug and ends the
// process.
#ifndef PREFIXD_ENGINE_BACKEND_CHECK_GATHER_H_
#define PREFIXD_ENGINE_BACKEND_CHECK_GATHER_H_

#include <cstdint>

#include "base/check.h"
#include "engine/backend/backend.h"

namespace prefixd {

inline int32_t NumDestinations(const SlotGather& gather) {
  if (gather.first_source.empty()) return static_cast<int32_t>(gather.sources.size());
  return static_cast<int32_t>(gather.first_source.size()) - 1;
}

// Pages and slots that exist, and at least one source for every destination.
inline void CheckGather(const SlotGather& gather, const KvPoolShape& shape) {
  for (const auto pages : {gather.source_pages, gather.destination_pages}) {
    for (const int32_t page : pages) PREFIXD_CHECK(page >= 0 && page < shape.num_pages);
  }
  const int64_t num_slots = static_cast<int64_t>(gather.source_pages.size()) * kPageSlots;
  for (const int32_t slot : gather.sources) PREFIXD_CHECK(slot >= 0 && slot < num_slots);
  PREFIXD_CHECK(NumDestinations(gather) <=
                static_cast<int64_t>(gather.destination_pages.size()) * kPageSlots);
  const auto first = gather.first_source;
  if (first.empty()) return;
  PREFIXD_CHECK(first.front() >= 0 && first.back() <= static_cast<int64_t>(gather.sources.size()));
  for (size_t d = 1; d < first.size(); ++d) PREFIXD_CHECK(first[d - 1] < first[d]);
}

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_CHECK_GATHER_H_
