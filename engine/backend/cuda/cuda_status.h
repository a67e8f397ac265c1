// From errors of the CUDA runtime to absl::Status, by the rules of Backend.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STATUS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STATUS_H_

#include <cuda_runtime.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prefixd::cuda {

// Whether no later call can succeed: the context is gone.
bool IsDeviceLost(cudaError_t error);

// OK; RESOURCE_EXHAUSTED when memory lacks; UNAVAILABLE when the device is lost; else INTERNAL. The
// message is "what: the error's name and text". An error is taken out of the runtime, so that it is
// not told again as that of a later launch.
absl::Status CudaStatus(cudaError_t error, absl::string_view what);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_STATUS_H_
