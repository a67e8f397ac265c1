#include "engine/backend/cuda/cuda_health.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace prefixd::cuda {

absl::Status CudaHealth::Check(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess && !lost()) return absl::OkStatus();
  if (lost()) return status_;
  cudaGetLastError();  // Forgets errors that do not stick, so that they are not seen again.
  const std::string message = absl::StrCat("cuda: ", what, ": ", cudaGetErrorName(error), " (",
                                           cudaGetErrorString(error), ")");
  if (error == cudaErrorMemoryAllocation) return absl::ResourceExhaustedError(message);
  status_ = absl::UnavailableError(message);
  return status_;
}

absl::Status CudaHealth::Check(absl::Status status) {
  if (lost()) return status_;
  if (absl::IsUnavailable(status)) {
    status_ = std::move(status);
    return status_;
  }
  if (absl::IsInternal(status)) {
    status_ = absl::UnavailableError(status.message());
    return status_;
  }
  return status;
}

}  // namespace prefixd::cuda
