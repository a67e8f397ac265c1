// Single products by cuBLASLt, with an algorithm kept for every shape bucket: rows rounded up to a
// power of two, columns, types, the alignment of every operand, bias or none.
//
// Row-major y = x * weight^T is column-major y^T = weight * x^T: A is the weight, transposed, B is
// x, and the bias runs along D's rows.
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_LT_PRODUCT_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_LT_PRODUCT_H_

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <array>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

// An algorithm may count on no more than this of any pointer and stride.
inline constexpr int64_t kVectorBytes = 16;

// The largest power of two, at most kVectorBytes, that the address of every row is a multiple of.
int64_t RowAlignment(const DeviceMatrix& matrix);

class LtProduct {
 public:
  // Without split_k an element's products are summed in one sequence. Errors: FAILED_PRECONDITION
  // where the library does not start.
  static absl::StatusOr<std::unique_ptr<LtProduct>> Create(bool split_k, size_t workspace_bytes);
  ~LtProduct();

  // As Gemm::Run for rows > 0; y is x's type or kF32, and bias is y's. `workspace` is for this
  // stream alone.
  absl::Status Run(const DeviceMatrix& x, const DeviceMatrix& weight, const DeviceMatrix* bias,
                   bool accumulate, const DeviceMatrix& y, void* workspace, cudaStream_t stream);

 private:
  // Row bucket, outputs, inputs, types of x and y; alignment of weight, x, y and bias (0: none).
  using Key = std::array<int64_t, 9>;

  LtProduct(cublasLtHandle_t handle, bool split_k, size_t workspace_bytes)
      : handle_(handle), split_k_(split_k), workspace_bytes_(workspace_bytes) {}

  absl::StatusOr<cublasLtMatmulAlgo_t> Choose(cublasLtMatmulDesc_t desc, const DeviceMatrix& x,
                                              const DeviceMatrix& weight, const DeviceMatrix& y,
                                              const Key& key);

  const cublasLtHandle_t handle_;
  const bool split_k_;
  const size_t workspace_bytes_;
  absl::flat_hash_map<Key, cublasLtMatmulAlgo_t> algorithms_;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_LT_PRODUCT_H_
