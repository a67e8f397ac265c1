// Makes a backend by name.
#ifndef PREFIXD_ENGINE_BACKEND_REGISTRY_H_
#define PREFIXD_ENGINE_BACKEND_REGISTRY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"

namespace prefixd {

struct BackendOptions {
  std::string name = "auto";  // "auto", "cpu", "ref". Auto takes the fastest that the machine has.
  std::string cpu_level = "auto";        // "auto", "portable", "avx2", "avx512", "avx512bf16".
  int num_threads = 0;                   // 0: one per CPU that this process may use. At most 256.
  DType activation_dtype = DType::kF32;  // kBF16 only on level avx512bf16.
};

// Errors: INVALID_ARGUMENT for an unknown name or level; FAILED_PRECONDITION for a level that this
// CPU cannot run, naming the best that it can.
absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const BackendOptions& options);

// The CPU levels that this machine can run, slowest first; "portable" is always among them.
std::vector<std::string> SupportedCpuLevels();

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_REGISTRY_H_
