// Which page ids are free, and who holds the others. A page belongs to one layer of one or more
// sequences; ids are one space over all layers, so what one layer frees feeds another.
// Engine thread only.
#ifndef PREFIXD_CACHE_PAGE_POOL_H_
#define PREFIXD_CACHE_PAGE_POOL_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace prefixd {

using PageId = int32_t;

// Slots (tokens) in a page.
inline constexpr int32_t kSlotsPerPage = 16;

class PagePool;

// Keeps one page allocated without a say in who may write it: the source of a copy that is still to
// be made. Move-only. Must not outlive the pool.
class PageHold {
 public:
  PageHold(PageHold&& other) noexcept
      : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
  PageHold& operator=(PageHold&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~PageHold();

 private:
  friend class PageRef;
  PageHold(PagePool* pool, PageId id) : pool_(pool), id_(id) {}

  PagePool* pool_;
  PageId id_;
};

// Move-only claim on one page; gives it back when destroyed. Must not outlive the pool.
class PageRef {
 public:
  PageRef(PageRef&& other) noexcept : pool_(std::exchange(other.pool_, nullptr)), id_(other.id_) {}
  PageRef& operator=(PageRef&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~PageRef();

  PageId id() const { return id_; }
  // Whether another claim on this page exists; such a page is never written. Holds do not count.
  bool shared() const;
  // Another claim on the same page.
  PageRef Share() const;
  // Keeps the page from being reused after its last claim is gone.
  PageHold Hold() const;

 private:
  friend class PagePool;
  PageRef(PagePool* pool, PageId id) : pool_(pool), id_(id) {}

  PagePool* pool_;
  PageId id_;
};

class PagePool {
 public:
  // Requires: num_pages >= 0.
  explicit PagePool(int32_t num_pages);
  // Requires: every page was given back.
  ~PagePool();
  PagePool(const PagePool&) = delete;
  PagePool& operator=(const PagePool&) = delete;

  int32_t num_pages() const { return static_cast<int32_t>(ref_counts_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  // Claims on the page.
  int32_t ref_count(PageId id) const { return ref_counts_[id]; }
  // Holds on the page.
  int32_t hold_count(PageId id) const { return hold_counts_[id]; }

  // Takes a free page, the most recently freed first; nullopt if there is none.
  std::optional<PageRef> Allocate();

  // Crashes unless every page is either free, once, or claimed or held.
  void CheckInvariants() const;

 private:
  friend class PageRef;
  friend class PageHold;
  void AddRef(PageId id);
  void Release(PageId id);
  void AddHold(PageId id);
  void ReleaseHold(PageId id);
  void FreeIfUnused(PageId id);

  std::vector<int32_t> ref_counts_;   // By page id.
  std::vector<int32_t> hold_counts_;  // By page id. Free: both counts are 0.
  std::vector<PageId> free_;          // A stack.
};

}  // namespace prefixd

#endif  // PREFIXD_CACHE_PAGE_POOL_H_
