// A pool of 16-bit elements larger than memory: zero, and real only where it is written.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SPARSE_PAGES_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SPARSE_PAGES_H_

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "engine/backend/cuda/kernels/types.h"
#include "tests/cuda_emulation/test_pages.h"

namespace prefixd::cuda {

class SparsePages {
 public:
  explicit SparsePages(const PageShape& shape)
      : view_{nullptr, shape.type, shape.num_pages, shape.num_kv_heads, shape.head_dim},
        bytes_(static_cast<size_t>(shape.num_pages * view_.page_elements()) * 2) {
    PREFIXD_CHECK(shape.type != Element::kF32);
    view_.data = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    PREFIXD_CHECK(view_.data != MAP_FAILED);
  }
  ~SparsePages() { munmap(view_.data, bytes_); }
  SparsePages(const SparsePages&) = delete;
  SparsePages& operator=(const SparsePages&) = delete;

  const KvPages& view() const { return view_; }
  uint16_t Get(int64_t slot, int part, int64_t head, int64_t c) const {
    return *At(slot, part, head, c);
  }
  void Set(int64_t slot, int part, int64_t head, int64_t c, uint16_t bits) {
    *At(slot, part, head, c) = bits;
  }

 private:
  uint16_t* At(int64_t slot, int part, int64_t head, int64_t c) const {
    const int64_t vector = (slot / 16 * 2 + part) * view_.num_kv_heads + head;
    return static_cast<uint16_t*>(view_.data) + (vector * 16 + slot % 16) * view_.head_dim + c;
  }

  KvPages view_;
  const size_t bytes_;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SPARSE_PAGES_H_
