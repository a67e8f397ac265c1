#include "engine/backend/ref/ref_backend.h"

#include <utility>

#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/memory.h"
#include "engine/backend/ref/ref_backend_impl.h"
#include "engine/backend/ref/ref_memory.h"

namespace prefixd {

absl::StatusOr<std::unique_ptr<Backend>> CreateRefBackend(const BackendOptions& /*options*/) {
  return std::make_unique<ref::RefBackend>();
}

namespace ref {

RefBackend::RefBackend() : info_{.name = "ref", .activation_dtype = DType::kF64} {}

absl::StatusOr<Buffer> RefBackend::Allocate(size_t size_bytes) {
  return cpu::AllocateZeroed(size_bytes, cpu::MemoryUse::kDense, "a tensor");
}

absl::StatusOr<std::unique_ptr<Matrix>> RefBackend::CreateMatrix(DType dtype, int64_t rows,
                                                                 int64_t cols) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix, RefMatrix::Create(dtype, rows, cols));
  return matrix;
}

absl::Status RefBackend::WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                                         Matrix* matrix) {
  static_cast<RefMatrix*>(matrix)->WriteRows(row_begin, bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<KvPool>> RefBackend::CreateKvPool(const KvPoolShape& shape) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<KvPool> pool, RefKvPool::Create(shape));
  return pool;
}

absl::Status RefBackend::Upload(absl::Span<const float> x, const Tensor& y) {
  PREFIXD_CHECK(static_cast<int64_t>(x.size()) == y.rows * y.cols);
  for (int64_t t = 0; t < y.rows; ++t) {
    double* const row = RowOf(y, t);
    for (int64_t i = 0; i < y.cols; ++i) row[i] = x[t * y.cols + i];
  }
  return absl::OkStatus();
}

absl::Status RefBackend::Download(const Tensor& x, absl::Span<float> y) {
  PREFIXD_CHECK(static_cast<int64_t>(y.size()) == x.rows * x.cols);
  for (int64_t t = 0; t < x.rows; ++t) {
    const double* const row = RowOf(x, t);
    for (int64_t i = 0; i < x.cols; ++i) y[t * x.cols + i] = static_cast<float>(row[i]);
  }
  return absl::OkStatus();
}

absl::Status RefBackend::Synchronize() { return absl::OkStatus(); }

}  // namespace ref
}  // namespace prefixd
