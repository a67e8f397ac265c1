#include "engine/backend/cuda/cuda_health.h"

#include <utility>

#include "engine/backend/cuda/cuda_status.h"

namespace prefixd::cuda {

absl::Status CudaHealth::Check(cudaError_t error, absl::string_view what) {
  if (error == cudaSuccess && !lost()) return absl::OkStatus();
  return Check(CudaStatus(error, what));
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
