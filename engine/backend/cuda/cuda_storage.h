// What the CUDA backend keeps in device memory for others: weights and pages.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STORAGE_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STORAGE_H_

#include <cstdint>
#include <utility>

#include "base/check.h"
#include "engine/backend/backend.h"
#include "engine/backend/cuda/kernels/types.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cuda {

// Requires a type that the device has.
inline Element ElementOf(DType dtype) {
  PREFIXD_CHECK(dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16);
  return dtype == DType::kF32 ? Element::kF32
                              : (dtype == DType::kF16 ? Element::kF16 : Element::kBF16);
}

inline DeviceMatrix ViewOf(const Tensor& tensor) {
  return {.data = tensor.data,
          .type = ElementOf(tensor.dtype),
          .rows = tensor.rows,
          .cols = tensor.cols,
          .stride = tensor.row_stride};
}

// Row-major in the activation dtype; rows start at multiples of 16 bytes.
class CudaMatrix final : public Matrix {
 public:
  static int64_t Stride(DType stored, int64_t cols) {
    const int64_t per_line = 16 / static_cast<int64_t>(DTypeSize(stored));
    return (cols + per_line - 1) / per_line * per_line;
  }

  // `memory` holds rows * Stride(stored, cols) elements.
  CudaMatrix(DType dtype, DType stored, int64_t rows, int64_t cols, Buffer memory)
      : Matrix(dtype, rows, cols), stored_(stored), memory_(std::move(memory)) {}

  DType stored() const { return stored_; }
  int64_t stride() const { return Stride(stored_, cols()); }
  std::byte* data() const { return memory_.data(); }
  DeviceMatrix view() const {
    return {.data = memory_.data(),
            .type = ElementOf(stored_),
            .rows = rows(),
            .cols = cols(),
            .stride = stride()};
  }

 private:
  const DType stored_;
  const Buffer memory_;
};

// The layout of KvPages. `positions` is empty for a pool that keeps none.
class CudaKvPool final : public KvPool {
 public:
  CudaKvPool(const KvPoolShape& shape, Buffer memory, Buffer positions)
      : KvPool(shape), memory_(std::move(memory)), positions_(std::move(positions)) {}

  KvPages pages() const {
    return {.data = memory_.data(),
            .type = ElementOf(shape().dtype),
            .num_pages = shape().num_pages,
            .num_kv_heads = shape().num_kv_heads,
            .head_dim = shape().head_dim,
            .positions = reinterpret_cast<int32_t*>(positions_.data())};
  }

 private:
  const Buffer memory_;
  const Buffer positions_;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STORAGE_H_
