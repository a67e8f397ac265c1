// Whether the device is still there. The first error that is not one of memory loses it: what was
// queued may be wrong, so every later call fails, too.
//
// Threads: one caller at a time.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_CUDA_HEALTH_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_CUDA_HEALTH_H_

#include <cuda_runtime.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace prefixd::cuda {

class CudaHealth {
 public:
  // OK, or UNAVAILABLE with what lost the device.
  const absl::Status& status() const { return status_; }
  bool lost() const { return !status_.ok(); }

  // The status of a call of the runtime or of a launcher; `what` names it in messages. Errors:
  // RESOURCE_EXHAUSTED when memory lacked; UNAVAILABLE, now and for ever, for all others.
  absl::Status Check(cudaError_t error, absl::string_view what);

  // The same for a status: UNAVAILABLE and INTERNAL ones lose the device.
  absl::Status Check(absl::Status status);

 private:
  absl::Status status_;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_CUDA_HEALTH_H_
