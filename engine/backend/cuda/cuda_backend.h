// The CUDA backend: kernels of engine/backend/cuda/kernels and cuBLASLt behind the backend's door.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/tensor/dtype.h"

namespace prefixd::cuda {

struct CudaBackendOptions {
  int device = 0;
  std::string device_name;  // For info().
  DType activation_dtype = DType::kBF16;
  bool deterministic = false;
  bool graphs = true;  // Passes of decodes are recorded and played.
  // Sizes of host buffers; small ones make tests see their edges.
  size_t staging_bytes = size_t{256} << 10;
  size_t transfer_bytes = size_t{4} << 20;
  size_t workspace_bytes = size_t{32} << 20;
  // Softmax states in memory at a time, in bytes, unless one row has more.
  size_t split_bytes = size_t{256} << 20;
};

// A backend on that device, which must be usable (see module.cc). Errors: RESOURCE_EXHAUSTED,
// UNAVAILABLE.
absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const CudaBackendOptions& options);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_BACKEND_H_
