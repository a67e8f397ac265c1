// Loads the CUDA backend, so that a program links no CUDA library: looks for the driver and a card
// with what the driver itself tells, and only then loads the module (cuda/module.h), which brings
// cublasLt (0.6 s and 200 MB). Without a driver that takes a fraction of a millisecond.
//
// Any thread. What was loaded stays loaded.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_LOADER_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_LOADER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/registry.h"

namespace prefixd {

// Where the loader looks; tests put files of their own there.
struct CudaLibraries {
  std::string driver = "libcuda.so.1";
  std::vector<std::string> modules;  // The first that exists; empty: DefaultCudaModules().
};

// The module beside the running program: ../lib/prefixd/, ../lib64/prefixd/ and its own folder.
std::vector<std::string> DefaultCudaModules();

// options.cuda_module, if set, is the only module that is looked at. Errors are one line each that
// names what is missing, what was found and what is needed:
//   NOT_FOUND: no driver library on this machine.
//   FAILED_PRECONDITION: no card, or no such; a card or driver that is too old; no module, or one
//   that cannot be loaded or belongs to another build.
//   What the module itself says of the options, the card or its memory.
absl::StatusOr<std::unique_ptr<Backend>> LoadCudaBackend(const BackendOptions& options,
                                                         const CudaLibraries& libraries = {});

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_LOADER_H_
