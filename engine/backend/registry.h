// Makes a backend by name.
#ifndef PREFIXD_ENGINE_BACKEND_REGISTRY_H_
#define PREFIXD_ENGINE_BACKEND_REGISTRY_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"

namespace prefixd {

struct BackendOptions {
  // "auto", "cpu", "cuda", "ref". Auto takes the fastest that the machine has.
  std::string name = "auto";
  std::string cpu_level = "auto";        // "auto", "portable", "avx2", "avx512", "avx512bf16".
  int num_threads = 0;                   // 0: one per CPU that this process may use. At most 256.
  // CPU: kF32, or kBF16 on level avx512bf16. CUDA: kF16, kBF16, kF32. Unset: kF32 on the CPU, kBF16
  // on CUDA.
  std::optional<DType> activation_dtype;
  // CUDA only.
  int cuda_device = 0;
  bool deterministic = false;  // A row's bits do not depend on its batch, at some cost.
  std::string cuda_module;     // The module's file; empty: beside the program.
};

// Errors: INVALID_ARGUMENT for an unknown name or level; FAILED_PRECONDITION for a level that this
// CPU cannot run, naming the best that it can.
absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const BackendOptions& options);

// The CPU levels that this machine can run, slowest first; "portable" is always among them.
std::vector<std::string> SupportedCpuLevels();

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_REGISTRY_H_
