// What the CUDA module exports and the program loads by name, so that the program links no CUDA
// library. Program and module are built together: the ABI number covers Backend and BackendOptions.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_MODULE_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_MODULE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/registry.h"

namespace prefixd::cuda {

// Raised with every change of backend.h, registry.h's options or tensor.h.
inline constexpr int kModuleAbi = 3;
inline constexpr char kModuleEntry[] = "prefixd_cuda_module_v1";

struct ModuleEntry {
  int abi = 0;
  // Errors: FAILED_PRECONDITION for a card, driver or option that cannot be used, with the reason;
  // RESOURCE_EXHAUSTED when memory lacks.
  absl::StatusOr<std::unique_ptr<Backend>> (*create)(const BackendOptions& options) = nullptr;
};

}  // namespace prefixd::cuda

// extern "C" const prefixd::cuda::ModuleEntry* prefixd_cuda_module_v1();

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_MODULE_H_
