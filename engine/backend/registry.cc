#include "engine/backend/registry.h"

#include "absl/strings/str_cat.h"
#include "engine/backend/cpu/cpu_backend.h"
#include "engine/backend/ref/ref_backend.h"

namespace prefixd {

absl::StatusOr<std::unique_ptr<Backend>> CreateBackend(const BackendOptions& options) {
  if (options.name == "cpu" || options.name == "auto") return CreateCpuBackend(options);
  if (options.name == "ref") return CreateRefBackend(options);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown backend \"", options.name, "\", expected auto, cpu or ref"));
}

}  // namespace prefixd
