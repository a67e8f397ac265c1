// What the CUDA driver says of itself and of a card, asked without any CUDA library or header.
// Any thread.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_DRIVER_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_DRIVER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prefixd {

// Versions as major and minor.
struct CudaVersion {
  int major = 0;
  int minor = 0;
  friend auto operator<=>(const CudaVersion&, const CudaVersion&) = default;
};
inline constexpr CudaVersion kLeastCudaDriver{13, 0};
inline constexpr CudaVersion kLeastComputeCapability{8, 0};

struct CudaCard {
  std::string name;
  CudaVersion compute_capability;
  CudaVersion driver;  // The newest CUDA that the driver serves.
};

// Loads the driver library `driver` (a file name as for dlopen) and asks it about card `device`.
// Errors: NOT_FOUND without the library; FAILED_PRECONDITION for a driver that does not start, no
// such card, or a version below the least. One line each.
absl::StatusOr<CudaCard> FindCudaCard(const std::string& driver, int device);

// FAILED_PRECONDITION in one line: why this machine does not compute with CUDA.
absl::Status CudaRefused(absl::string_view found);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_DRIVER_H_
