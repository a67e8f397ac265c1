#include "cache/page_pool.h"

#include "base/check.h"
#include "base/planted_bug.h"

namespace prefixd {

PageHold::~PageHold() {
  if (pool_ != nullptr) pool_->ReleaseHold(id_);
}

PageRef::~PageRef() {
  if (pool_ != nullptr) pool_->Release(id_);
}

bool PageRef::shared() const { return pool_->ref_count(id_) > 1; }

PageRef PageRef::Share() const {
  if (!PREFIXD_PLANTED(kShareTakesNoReference)) pool_->AddRef(id_);
  return PageRef(pool_, id_);
}

PageHold PageRef::Hold() const {
  pool_->AddHold(id_);
  return PageHold(pool_, id_);
}

PagePool::PagePool(int32_t num_pages) {
  PREFIXD_CHECK(num_pages >= 0);
  ref_counts_.resize(num_pages);
  hold_counts_.resize(num_pages);
  free_.reserve(num_pages);
  for (PageId id = num_pages - 1; id >= 0; --id) free_.push_back(id);
}

PagePool::~PagePool() { PREFIXD_CHECK(num_free() == num_pages()); }

std::optional<PageRef> PagePool::Allocate() {
  if (free_.empty()) return std::nullopt;
  const PageId id = free_.back();
  free_.pop_back();
  PREFIXD_CHECK(ref_counts_[id] == 0 && hold_counts_[id] == 0);
  ref_counts_[id] = 1;
  return PageRef(this, id);
}

void PagePool::AddRef(PageId id) {
  PREFIXD_CHECK(ref_counts_[id] > 0);
  ++ref_counts_[id];
}

void PagePool::Release(PageId id) {
  PREFIXD_CHECK(ref_counts_[id] > 0);
  --ref_counts_[id];
  FreeIfUnused(id);
}

void PagePool::AddHold(PageId id) {
  PREFIXD_CHECK(ref_counts_[id] > 0);
  ++hold_counts_[id];
}

void PagePool::ReleaseHold(PageId id) {
  PREFIXD_CHECK(hold_counts_[id] > 0);
  --hold_counts_[id];
  FreeIfUnused(id);
}

void PagePool::FreeIfUnused(PageId id) {
  if (ref_counts_[id] == 0 && hold_counts_[id] == 0) free_.push_back(id);
}

void PagePool::CheckInvariants() const {
  std::vector<bool> is_free(ref_counts_.size());
  for (const PageId id : free_) {
    PREFIXD_CHECK(id >= 0 && id < num_pages());
    PREFIXD_CHECK(!is_free[id]);
    is_free[id] = true;
  }
  for (PageId id = 0; id < num_pages(); ++id) {
    PREFIXD_CHECK(ref_counts_[id] >= 0 && hold_counts_[id] >= 0);
    PREFIXD_CHECK(is_free[id] == (ref_counts_[id] == 0 && hold_counts_[id] == 0));
  }
}

}  // namespace prefixd
