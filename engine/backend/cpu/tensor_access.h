// Rows of float32 tensors. A wrong dtype is a bug of the caller.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_TENSOR_ACCESS_H_
#define PREFIXD_ENGINE_BACKEND_CPU_TENSOR_ACCESS_H_

#include <cstdint>

#include "base/check.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

inline float* RowOf(const Tensor& x, int64_t row) {
  PREFIXD_CHECK(x.dtype == DType::kF32);
  return reinterpret_cast<float*>(x.data) + row * x.row_stride;
}

// A vector of that length.
inline void CheckRow(const Tensor& x, int64_t cols) {
  PREFIXD_CHECK(x.rows == 1 && x.cols == cols);
}

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_TENSOR_ACCESS_H_
