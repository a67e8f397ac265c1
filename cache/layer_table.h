// The slots of one (sequence, layer): which pages hold them and which position each holds. Live
// slots are [0, length). Layers of one sequence may have unequal lengths. While decoding under a
// budget a slot is dropped by handing it to the next token: there is never a hole when a step runs,
// and which slot that is depends on counts alone (docs/kv_cache.md). Engine thread only.
#ifndef PREFIXD_CACHE_LAYER_TABLE_H_
#define PREFIXD_CACHE_LAYER_TABLE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "cache/page_pool.h"
#include "cache/slot_queue.h"

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

  // Pages that Append(count) would take from the pool, copies on write included.
  int64_t PagesToAppend(int32_t count) const;

  // Gives `count` tokens at positions first_position, first_position + 1, ... their slots and
  // writes those to `slots` ([count]): the free slot first, then new ones at the end. A page that
  // is written and shared is replaced by a private one; the copy to make is added to `copies`, and
  // a hold on its source to `sources`. Requires: the pool has PagesToAppend(count) free pages.
  void Append(int32_t count, int32_t first_position, PagePool* pool, absl::Span<int32_t> slots,
              std::vector<PendingCopy>* copies, std::vector<PageHold>* sources);

  // Adds a page whose first `count` slots hold positions first_position, first_position + 1, ...
  // Requires: all pages are full; 1 <= count <= kSlotsPerPage.
  void Adopt(PageRef page, int32_t count, int32_t first_position);

  // A table of private pages for the tokens at `positions`, in that order; the caller fills them.
  // Requires: the pool has enough free pages.
  static LayerTable OfPositions(absl::Span<const int32_t> positions, PagePool* pool);

  // --- Drops while decoding

  // Slots from `first_droppable` on may be dropped from here on, the oldest first.
  void BeginDrops(int32_t first_droppable);
  // Hands the oldest droppable slot to the next token. Returns false if there is none.
  // Requires: no slot is free.
  bool DropOldest();
  // Hands this slot to the next token. Requires: no slot is free; DropOldest is not used.
  void DropSlot(int32_t slot);
  // The slot that the next token takes; -1: a new one.
  int32_t free_slot() const { return free_slot_; }
  // The page that the next token is written to; -1: a new one.
  PageId next_written_page() const {
    if (free_slot_ >= 0) return page_ids_[free_slot_ / kSlotsPerPage];
    return length() % kSlotsPerPage == 0 ? -1 : page_ids_.back();
  }

  // Another claim on the page with this number.
  PageRef SharePage(int32_t index) const { return pages_[index].Share(); }
  // Holds the same slots in another page from here on. Requires: the pages' contents are equal.
  void ReplacePage(int32_t index, PageRef page);

  // A table with the same slots, sharing every page.
  LayerTable Fork() const;
  // One with the first `length` of them. Requires: no drops have begun; 1 <= length <= length().
  LayerTable ForkPrefix(int32_t length) const;

  // One with the slots of pages `first_page` and later, at the positions that they have. Requires:
  // no drops have begun; there is such a page.
  LayerTable ForkTail(int32_t first_page) const;

  // Crashes unless pages, slots and positions agree.
  void CheckInvariants(const PagePool& pool) const;

 private:
  void CheckDroppable() const;
  // Whether a write to this slot goes to a page that others see too.
  bool IsShared(int32_t slot) const;
  // Makes the page of `slot` private.
  void Unshare(int32_t slot, PagePool* pool, std::vector<PendingCopy>* copies,
               std::vector<PageHold>* sources);

  std::vector<PageRef> pages_;
  std::vector<PageId> page_ids_;    // Ids of pages_, contiguous for the kernels.
  std::vector<int32_t> positions_;  // By slot; distinct.
  int32_t first_droppable_ = -1;    // -1: nothing is ever dropped.
  int32_t free_slot_ = -1;          // Its position is dropped, and not yet replaced.
  SlotQueue droppable_;             // Without the free slot.
  bool in_order_ = true;            // Slots are in order of position: none was taken over.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_LAYER_TABLE_H_
