#include "engine/backend/registry.h"

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/cuda_loader.h"
#include "engine/backend/ref/ref_backend.h"

namespace prefixd {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> CreateCudaBackend(const BackendOptions& options) {
  absl::StatusOr<std::unique_ptr<Backend>> backend = LoadCudaBackend(options);
  if (!absl::IsNotFound(backend.status())) return backend;
  return absl::FailedPreconditionError(
      absl::StrCat(backend.status().message(),
                   "; needed: a driver for CUDA 13.0 (release 580) or "
                   "later, or another backend"));
}

// The card if there is one that can be used. A machine without a driver is nothing to tell.
absl::StatusOr<std::unique_ptr<Backend>> CreateBestBackend(const BackendOptions& options) {
  absl::StatusOr<std::unique_ptr<Backend>> backend = LoadCudaBackend(options);
  if (backend.ok()) return backend;
  if (absl::IsNotFound(backend.status())) {
    PREFIXD_LOG(kDebug, backend.status().message(), "; the CPU computes");
  } else {
    PREFIXD_LOG(kInfo, backend.status().message(), "; the CPU computes");
  }
  return CreateCpuBackend(options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const BackendOptions& options) {
  if (options.name == "auto") return CreateBestBackend(options);
  if (options.name == "cpu") return CreateCpuBackend(options);
  if (options.name == "cuda") return CreateCudaBackend(options);
  if (options.name == "ref") return CreateRefBackend(options);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown backend \"", options.name, "\", expected auto, cpu, cuda or ref"));
}

}  // namespace prefixd
