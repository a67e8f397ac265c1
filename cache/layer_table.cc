#include "cache/layer_table.h"

#include <utility>

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {

bool LayerTable::CopiesLastPage() const {
  if (PREFIXD_PLANTED(kSkipCopyOnWrite)) return false;
  return length() % kSlotsPerPage != 0 && pages_.back().shared();
}

int64_t LayerTable::PagesToAppend(int32_t count) const {
  PREFIXD_CHECK(count >= 0);
  if (count == 0) return 0;
  const int64_t pages_after = (int64_t{length()} + count + kSlotsPerPage - 1) / kSlotsPerPage;
  const bool copies_last = CopiesLastPage();
  return pages_after - static_cast<int64_t>(pages_.size()) + (copies_last ? 1 : 0);
}

void LayerTable::Append(int32_t count, int32_t first_position, PagePool* pool,
                        absl::Span<int32_t> slots, std::vector<PendingCopy>* copies,
                        std::vector<PageHold>* sources) {
  PREFIXD_CHECK(static_cast<int64_t>(slots.size()) == count);
  PREFIXD_CHECK(PagesToAppend(count) <= pool->num_free());
  if (count == 0) return;
  if (CopiesLastPage()) {
    PageRef copy = *pool->Allocate();
    copies->push_back({.source = pages_.back().id(), .destination = copy.id()});
    sources->push_back(pages_.back().Hold());
    page_ids_.back() = copy.id();
    pages_.back() = std::move(copy);
  }
  for (int32_t i = 0; i < count; ++i) {
    const int32_t slot = length();
    if (slot % kSlotsPerPage == 0) {
      pages_.push_back(*pool->Allocate());
      page_ids_.push_back(pages_.back().id());
    }
    slots[i] = slot;
    positions_.push_back(first_position + i);
  }
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
  // Without eviction slots are filled in order of position.
  for (size_t i = 0; i < positions_.size(); ++i) {
    PREFIXD_CHECK(positions_[i] >= 0 && (i == 0 || positions_[i - 1] < positions_[i]));
  }
}

}  // namespace prefixd
