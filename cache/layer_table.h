// The slots of one (sequence, layer): which pages hold them and which position each holds. Live
// slots are [0, length). Layers of one sequence may have unequal lengths. Engine thread only.
#ifndef PREFIXD_CACHE_LAYER_TABLE_H_
#define PREFIXD_CACHE_LAYER_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "cache/page_pool.h"

namespace prefixd {

// A whole-page copy that must happen before the next write to `destination` (copy on write).
struct PendingCopy {
  PageId source = 0;
  PageId destination = 0;
};

class LayerTable {
 public:
  LayerTable() = default;
  LayerTable(LayerTable&&) = default;
  LayerTable& operator=(LayerTable&&) = default;

  int32_t length() const { return static_cast<int32_t>(positions_.size()); }
  // Page ids in slot order: slot s lies in page_ids()[s / kSlotsPerPage].
  absl::Span<const PageId> page_ids() const { return page_ids_; }
  // The logical position held by each live slot.
  absl::Span<const int32_t> positions() const { return positions_; }

  // Pages that Append(count) would take from the pool, a copy on write included.
  int64_t PagesToAppend(int32_t count) const;

  // Adds `count` slots for positions first_position, first_position + 1, ... and writes their slot
  // numbers to `slots` ([count]). A partly filled last page that is shared is replaced by a private
  // one; the copy to make is added to `copies`, and a hold on its source to `sources`. Requires:
  // the pool has PagesToAppend(count) free pages.
  void Append(int32_t count, int32_t first_position, PagePool* pool, absl::Span<int32_t> slots,
              std::vector<PendingCopy>* copies, std::vector<PageHold>* sources);

  // Adds a page whose first `count` slots hold positions first_position, first_position + 1, ...
  // Requires: all pages are full; 1 <= count <= kSlotsPerPage.
  void Adopt(PageRef page, int32_t count, int32_t first_position);

  // Another claim on the page with this number.
  PageRef SharePage(int32_t index) const { return pages_[index].Share(); }
  // Holds the same slots in another page from here on. Requires: the pages' contents are equal.
  void ReplacePage(int32_t index, PageRef page);

  // A table with the same slots, sharing every page.
  LayerTable Fork() const;

  // Crashes unless pages, slots and positions agree.
  void CheckInvariants(const PagePool& pool) const;

 private:
  // Whether the next write goes to a partly filled page that others see too.
  bool CopiesLastPage() const;

  std::vector<PageRef> pages_;
  std::vector<PageId> page_ids_;    // Ids of pages_, contiguous for the kernels.
  std::vector<int32_t> positions_;  // By slot; distinct.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_LAYER_TABLE_H_
