// Where the reference backend keeps weights and KV. Engine thread only.
#ifndef PREFIXD_ENGINE_BACKEND_REF_REF_MEMORY_H_
#define PREFIXD_ENGINE_BACKEND_REF_REF_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/check.h"
#include "engine/backend/backend.h"
#include "engine/tensor/tensor.h"

namespace prefixd::ref {

// A wrong dtype is a bug of the caller.
inline double* RowOf(const Tensor& x, int64_t row) {
  PREFIXD_CHECK(x.dtype == DType::kF64 && row >= 0 && row < x.rows);
  return reinterpret_cast<double*>(x.data) + row * x.row_stride;
}

// Row-major weights in the dtype they came in.
class RefMatrix final : public Matrix {
 public:
  // Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<RefMatrix>> Create(DType dtype, int64_t rows, int64_t cols);

  // As Backend::WriteMatrixRows.
  void WriteRows(int64_t row_begin, absl::Span<const uint8_t> bytes);

  // y[0..cols) = row `row`, widened.
  void ReadRow(int64_t row, double* y) const;

 private:
  RefMatrix(DType dtype, int64_t rows, int64_t cols, Buffer buffer)
      : Matrix(dtype, rows, cols), buffer_(std::move(buffer)) {}

  const Buffer buffer_;
};

// Pages as [page][slot][kv_head][K, V][head_dim].
class RefKvPool final : public KvPool {
 public:
  // Errors: RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<RefKvPool>> Create(const KvPoolShape& shape);

  // K and V of one slot and head: [head_dim]. Slot s lies in page pages[s / kPageSlots].
  double* Key(absl::Span<const int32_t> pages, int32_t slot, int kv_head) const;
  double* Value(absl::Span<const int32_t> pages, int32_t slot, int kv_head) const;

  void CopyPage(int32_t source, int32_t destination) const;

 private:
  RefKvPool(const KvPoolShape& shape, Buffer buffer) : KvPool(shape), buffer_(std::move(buffer)) {}

  int64_t page_size() const;  // In elements.
  double* Page(int32_t id) const;

  const Buffer buffer_;
};

}  // namespace prefixd::ref

#endif  // PREFIXD_ENGINE_BACKEND_REF_REF_MEMORY_H_
