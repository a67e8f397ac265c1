#include "cache/layer_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {

bool LayerTable::IsShared(int32_t slot) const {
  if (PREFIXD_PLANTED(kSkipCopyOnWrite)) return false;
  return pages_[slot / kSlotsPerPage].shared();
}

int64_t LayerTable::PagesToAppend(int32_t count) const {
  PREFIXD_CHECK(count >= 0);
  if (count == 0) return 0;
  const int32_t reused = free_slot_ >= 0 ? 1 : 0;
  const int64_t slots_after = int64_t{length()} + count - reused;
  int64_t pages =
      (slots_after + kSlotsPerPage - 1) / kSlotsPerPage - static_cast<int64_t>(pages_.size());
  const bool copies_free = reused == 1 && IsShared(free_slot_);
  if (copies_free) ++pages;
  if (count > reused && length() % kSlotsPerPage != 0 && IsShared(length() - 1)) {
    const bool same_page = copies_free && free_slot_ / kSlotsPerPage == length() / kSlotsPerPage;
    if (!same_page) ++pages;
  }
  return pages;
}

void LayerTable::Unshare(int32_t slot, PagePool* pool, std::vector<PendingCopy>* copies,
                         std::vector<PageHold>* sources) {
  if (!IsShared(slot)) return;
  const int32_t page = slot / kSlotsPerPage;
  PageRef copy = *pool->Allocate();
  copies->push_back({.source = page_ids_[page], .destination = copy.id()});
  sources->push_back(pages_[page].Hold());
  page_ids_[page] = copy.id();
  pages_[page] = std::move(copy);
}

void LayerTable::Append(int32_t count, int32_t first_position, PagePool* pool,
                        absl::Span<int32_t> slots, std::vector<PendingCopy>* copies,
                        std::vector<PageHold>* sources) {
  PREFIXD_CHECK(static_cast<int64_t>(slots.size()) == count);
  PREFIXD_CHECK(PagesToAppend(count) <= pool->num_free());
  for (int32_t i = 0; i < count; ++i) {
    int32_t slot = std::exchange(free_slot_, -1);
    if (slot >= 0) {
      Unshare(slot, pool, copies, sources);
      positions_[slot] = first_position + i;
      in_order_ = false;
    } else {
      slot = length();
      if (slot % kSlotsPerPage == 0) {
        pages_.push_back(*pool->Allocate());
        page_ids_.push_back(pages_.back().id());
      } else {
        Unshare(slot, pool, copies, sources);
      }
      positions_.push_back(first_position + i);
    }
    slots[i] = slot;
    if (first_droppable_ >= 0 && slot >= first_droppable_) droppable_.Push(slot);
  }
}

LayerTable LayerTable::OfPositions(absl::Span<const int32_t> positions, PagePool* pool) {
  const size_t num_pages = (positions.size() + kSlotsPerPage - 1) / kSlotsPerPage;
  PREFIXD_CHECK(num_pages <= static_cast<size_t>(pool->num_free()));
  LayerTable table;
  table.positions_.assign(positions.begin(), positions.end());
  for (size_t slot = 0; slot < positions.size(); slot += kSlotsPerPage) {
    table.pages_.push_back(*pool->Allocate());
    table.page_ids_.push_back(table.pages_.back().id());
  }
  return table;
}

void LayerTable::BeginDrops(int32_t first_droppable) {
  PREFIXD_CHECK(first_droppable >= 0 && first_droppable_ < 0);
  first_droppable_ = first_droppable;
  for (int32_t slot = first_droppable; slot < length(); ++slot) droppable_.Push(slot);
}

bool LayerTable::DropOldest() {
  PREFIXD_CHECK(free_slot_ < 0);
  if (droppable_.empty()) return false;
  free_slot_ = PREFIXD_PLANTED(kDropsNewest) ? length() - 1 : droppable_.Pop();
  return true;
}

void LayerTable::DropSlot(int32_t slot) {
  PREFIXD_CHECK(free_slot_ < 0 && droppable_.empty());
  PREFIXD_CHECK(slot >= 0 && slot < length());
  free_slot_ = slot;
}

void LayerTable::Adopt(PageRef page, int32_t count, int32_t first_position) {
  PREFIXD_CHECK(length() % kSlotsPerPage == 0);
  PREFIXD_CHECK(count >= 1 && count <= kSlotsPerPage);
  page_ids_.push_back(page.id());
  pages_.push_back(std::move(page));
  for (int32_t i = 0; i < count; ++i) positions_.push_back(first_position + i);
}

void LayerTable::ReplacePage(int32_t index, PageRef page) {
  page_ids_[index] = page.id();
  pages_[index] = std::move(page);
}

LayerTable LayerTable::Fork() const {
  LayerTable fork;
  fork.pages_.reserve(pages_.size());
  for (const PageRef& page : pages_) fork.pages_.push_back(page.Share());
  fork.page_ids_ = page_ids_;
  fork.positions_ = positions_;
  fork.first_droppable_ = first_droppable_;
  fork.free_slot_ = free_slot_;
  fork.droppable_ = droppable_;
  fork.in_order_ = in_order_;
  return fork;
}

LayerTable LayerTable::ForkPrefix(int32_t length) const {
  PREFIXD_CHECK(length >= 1 && length <= this->length() && first_droppable_ < 0 && free_slot_ < 0);
  LayerTable fork = Fork();
  const int32_t num_pages = (length + kSlotsPerPage - 1) / kSlotsPerPage;
  fork.pages_.erase(fork.pages_.begin() + num_pages, fork.pages_.end());
  fork.page_ids_.resize(static_cast<size_t>(num_pages));
  fork.positions_.resize(static_cast<size_t>(length));
  return fork;
}

LayerTable LayerTable::ForkTail(int32_t first_page) const {
  PREFIXD_CHECK(first_page >= 0 && static_cast<size_t>(first_page) < pages_.size());
  PREFIXD_CHECK(first_droppable_ < 0 && free_slot_ < 0);
  LayerTable fork = Fork();
  fork.pages_.erase(fork.pages_.begin(), fork.pages_.begin() + first_page);
  fork.page_ids_.erase(fork.page_ids_.begin(), fork.page_ids_.begin() + first_page);
  fork.positions_.erase(fork.positions_.begin(),
                        fork.positions_.begin() + first_page * kSlotsPerPage);
  return fork;
}

void LayerTable::CheckInvariants(const PagePool& pool) const {
  const int64_t pages_for_length = (int64_t{length()} + kSlotsPerPage - 1) / kSlotsPerPage;
  PREFIXD_CHECK(static_cast<int64_t>(pages_.size()) == pages_for_length);
  PREFIXD_CHECK(page_ids_.size() == pages_.size());
  std::vector<bool> seen(pool.num_pages());
  for (size_t i = 0; i < pages_.size(); ++i) {
    const PageId id = page_ids_[i];
    PREFIXD_CHECK(id == pages_[i].id());
    PREFIXD_CHECK(id >= 0 && id < pool.num_pages() && !seen[id]);
    PREFIXD_CHECK(pool.ref_count(id) > 0);
    seen[id] = true;
  }
  // Without drops slots are filled in order of position; a new token may take any slot over.
  std::vector<int32_t> ascending = positions_;
  if (!in_order_) std::sort(ascending.begin(), ascending.end());
  for (size_t i = 0; i < ascending.size(); ++i) {
    PREFIXD_CHECK(ascending[i] >= 0 && (i == 0 || ascending[i - 1] < ascending[i]));
  }
  CheckDroppable();
}

// The queue holds each slot from the first droppable one on but the free one, the oldest first.
void LayerTable::CheckDroppable() const {
  PREFIXD_CHECK(free_slot_ < length());
  const absl::Span<const int32_t> queue = droppable_.slots();
  if (queue.empty()) return;
  PREFIXD_CHECK(first_droppable_ >= 0);
  const int32_t free = free_slot_ >= first_droppable_ ? 1 : 0;
  PREFIXD_CHECK(static_cast<int32_t>(queue.size()) == length() - first_droppable_ - free);
  for (size_t i = 0; i < queue.size(); ++i) {
    PREFIXD_CHECK(queue[i] >= first_droppable_ && queue[i] < length() && queue[i] != free_slot_);
    PREFIXD_CHECK(i == 0 || positions_[queue[i - 1]] < positions_[queue[i]]);
  }
}

}  // namespace prefixd
