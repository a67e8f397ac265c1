// The one door to matrix products: cuBLASLt on a device, its double in tests. Algorithms are chosen
// once for every shape bucket (rows rounded up to a power of two) and kept.
//
// Memory: a stream's first product allocates its workspace; in deterministic mode a stream keeps
// kDeterministicRows rows of the widest operand and result, too. Products of two streams may run
// beside each other.
//
// Threads: one caller at a time. Errors: INTERNAL naming the shape where no algorithm takes it;
// RESOURCE_EXHAUSTED when memory lacks; UNAVAILABLE when the device is lost. A wrong shape fails a
// check.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_GEMM_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_GEMM_H_

#include <cuda_runtime.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

struct GemmOptions {
  // A row's bits do not depend on the number of rows: every product runs as products of
  // kDeterministicRows rows (padded), with one algorithm for each weight shape that splits K
  // nowhere.
  bool deterministic = false;
  size_t workspace_bytes = size_t{32} << 20;
};

inline constexpr int kDeterministicRows = 64;

class Gemm {
 public:
  virtual ~Gemm() = default;

  static absl::StatusOr<std::unique_ptr<Gemm>> Create(const GemmOptions& options);

  // y = x * weight^T + bias, or y += that with `accumulate`; rounded once, but with both a bias and
  // `accumulate` twice where y has 16 bits: cuBLASLt rounds what it adds the last addend to. x: [T,
  // K], weight: [N, K], y: [T, N], bias: [1, N] or null; x, weight and bias have one type, y that
  // type or kF32.
  // Sums in float32, products of kF32 in full precision (no TF32). May be captured into a graph
  // once its shape has run.
  virtual absl::Status Run(const DeviceMatrix& x, const DeviceMatrix& weight,
                           const DeviceMatrix* bias, bool accumulate, const DeviceMatrix& y,
                           cudaStream_t stream) = 0;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_GEMM_H_
