// Where the reference backend keeps weights and pages, in the simplest layout there is.
#ifndef PREFIXD_ENGINE_BACKEND_REF_REF_STORAGE_H_
#define PREFIXD_ENGINE_BACKEND_REF_REF_STORAGE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/backend/backend.h"
#include "engine/tensor/half.h"

namespace prefixd::ref {

// Row-major, as in the file, widened to float (exact but for blocks; theirs are the values of
// DequantizeRow).
class RefMatrix final : public Matrix {
 public:
  RefMatrix(DType dtype, int64_t rows, int64_t cols)
      : Matrix(dtype, rows, cols), values_(static_cast<size_t>(rows * cols)) {}

  const float* row(int64_t n) const { return values_.data() + n * cols(); }
  float* row(int64_t n) { return values_.data() + n * cols(); }

 private:
  std::vector<float> values_;
};

// [page][K or V][kv head][slot][head_dim], and behind those of a page the positions of its slots,
// whatever the shape says of them.
class RefKvPool final : public KvPool {
 public:
  // Doubles in one page.
  static size_t PageValues(const KvPoolShape& shape) {
    return size_t{2} * shape.num_kv_heads * kPageSlots * shape.head_dim + kPageSlots;
  }

  // `memory` holds PageValues(shape) doubles for every page.
  RefKvPool(const KvPoolShape& shape, Buffer memory)
      : KvPool(shape), page_values_(PageValues(shape)), memory_(std::move(memory)) {}

  enum Part { kKey = 0, kValue = 1 };

  // The head_dim values of one slot.
  double* at(int32_t page, Part part, int head, int32_t slot) {
    return values() + Offset(page, part, head, slot);
  }
  const double* at(int32_t page, Part part, int head, int32_t slot) const {
    return values() + Offset(page, part, head, slot);
  }
  int32_t position(int32_t page, int64_t slot) const {
    return static_cast<int32_t>(positions(page)[slot]);
  }
  void set_position(int32_t page, int64_t slot, int32_t position) {
    positions(page)[slot] = position;
  }
  double* page(int32_t page) { return values() + page_values_ * static_cast<size_t>(page); }
  size_t page_values() const { return page_values_; }

 private:
  double* values() const { return reinterpret_cast<double*>(memory_.data()); }
  double* positions(int32_t page) const {
    PREFIXD_CHECK(page >= 0 && page < shape().num_pages);
    return values() + page_values_ * (static_cast<size_t>(page) + 1) - kPageSlots;
  }
  size_t Offset(int32_t page, Part part, int head, int32_t slot) const {
    PREFIXD_CHECK(page >= 0 && page < shape().num_pages);
    const size_t vector = (static_cast<size_t>(part) * shape().num_kv_heads + head) * kPageSlots +
                          static_cast<size_t>(slot);
    return page_values_ * static_cast<size_t>(page) + vector * shape().head_dim;
  }

  const size_t page_values_;
  const Buffer memory_;
};

// Row t of an activation matrix.
inline double* RowOf(const Tensor& tensor, int64_t t) {
  PREFIXD_CHECK(tensor.dtype == DType::kF64 && t >= 0 && t < tensor.rows);
  return reinterpret_cast<double*>(tensor.data) + t * tensor.row_stride;
}

}  // namespace prefixd::ref

#endif  // PREFIXD_ENGINE_BACKEND_REF_REF_STORAGE_H_
