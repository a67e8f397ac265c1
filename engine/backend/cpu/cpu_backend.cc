#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/cpu_backend_impl.h"
#include "engine/backend/cpu/kv_pool.h"
#include "engine/backend/cpu/matrix.h"
#include "engine/backend/cpu/memory.h"
#include "engine/backend/cpu/tensor_access.h"

namespace prefixd {
namespace cpu {

CpuBackend::CpuBackend(const Level& level, int num_threads, bool round_activations)
    : round_activations_(round_activations),
      kernels_(level.kernels),
      pool_(num_threads),
      attention_(level.kernels, &pool_) {
  info_.name = "cpu";
  info_.level = level.name;
  info_.num_threads = pool_.num_threads();
  info_.activation_dtype = DType::kF32;
  accumulators_.resize(pool_.num_threads());
}

void CpuBackend::ForRows(int64_t rows, int64_t elements_per_row,
                         absl::FunctionRef<void(int64_t)> body) {
  constexpr int64_t kInlineElements = 16 << 10;
  constexpr int64_t kItemElements = 4 << 10;
  if (rows <= 1 || rows * elements_per_row < kInlineElements) {
    for (int64_t row = 0; row < rows; ++row) body(row);
    return;
  }
  const int64_t step = std::max<int64_t>(1, kItemElements / std::max<int64_t>(1, elements_per_row));
  pool_.Run((rows + step - 1) / step, [&](int64_t item, int) {
    const int64_t end = std::min(rows, (item + 1) * step);
    for (int64_t row = item * step; row < end; ++row) body(row);
  });
}

absl::StatusOr<Buffer> CpuBackend::Allocate(size_t size_bytes) {
  return AllocateZeroed(size_bytes, MemoryUse::kDense, "tensor");
}

absl::StatusOr<std::unique_ptr<Matrix>> CpuBackend::CreateMatrix(DType dtype, int64_t rows,
                                                                 int64_t cols) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<Matrix> matrix, PanelMatrix::Create(dtype, rows, cols));
  return matrix;
}

absl::Status CpuBackend::WriteMatrixRows(int64_t row_begin, absl::Span<const uint8_t> bytes,
                                         Matrix* matrix) {
  static_cast<PanelMatrix*>(matrix)->WriteRows(row_begin, bytes, &pool_);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<KvPool>> CpuBackend::CreateKvPool(const KvPoolShape& shape) {
  PREFIXD_ASSIGN_OR_RETURN(std::unique_ptr<KvPool> pool, PagedKvPool::Create(shape));
  return pool;
}

absl::Status CpuBackend::Upload(absl::Span<const float> x, const Tensor& y) {
  PREFIXD_CHECK(static_cast<int64_t>(x.size()) == y.rows * y.cols);
  for (int64_t row = 0; row < y.rows && y.cols > 0; ++row) {
    std::memcpy(RowOf(y, row), x.data() + row * y.cols, y.cols * sizeof(float));
  }
  return absl::OkStatus();
}

absl::Status CpuBackend::Download(const Tensor& x, absl::Span<float> y) {
  PREFIXD_CHECK(static_cast<int64_t>(y.size()) == x.rows * x.cols);
  for (int64_t row = 0; row < x.rows && x.cols > 0; ++row) {
    std::memcpy(y.data() + row * x.cols, RowOf(x, row), x.cols * sizeof(float));
  }
  return absl::OkStatus();
}

}  // namespace cpu

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const BackendOptions& options) {
  if (options.num_threads < 0 || options.num_threads > 256) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_threads ", options.num_threads, " is outside [0, 256]"));
  }
  PREFIXD_ASSIGN_OR_RETURN(const cpu::Level level, cpu::SelectLevel(options.cpu_level));
  const DType activation_dtype = options.activation_dtype.value_or(DType::kF32);
  const bool round_activations = activation_dtype == DType::kBF16;
  if (activation_dtype != DType::kF32 &&
      !(round_activations && level.kernels->pair_product != nullptr)) {
    return absl::UnimplementedError(
        absl::StrCat("level ", level.name, " of the cpu backend has no ",
                     DTypeName(activation_dtype), " activations, only f32"));
  }
  const int num_threads =
      options.num_threads > 0 ? options.num_threads : std::min(256, cpu::NumUsableCpus());
  return std::make_unique<cpu::CpuBackend>(level, num_threads, round_activations);
}

}  // namespace prefixd
