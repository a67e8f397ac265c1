// CPU levels: which kernels this machine can run. Chosen once, at start. Thread-safe.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_LEVEL_H_
#define PREFIXD_ENGINE_BACKEND_CPU_LEVEL_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/backend/cpu/kernels.h"

namespace prefixd::cpu {

struct Level {
  std::string name;
  const Kernels* kernels = nullptr;
};

// The level of that name; the best one for "auto". Errors: as CreateBackend.
absl::StatusOr<Level> SelectLevel(absl::string_view name);

// The CPUs that this process may run on, at least 1.
int NumUsableCpus();

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_LEVEL_H_
