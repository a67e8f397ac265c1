// Zeroed memory for tensors, weights and pages: small blocks from the heap, large ones mapped, with
// huge pages asked for where they help.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_MEMORY_H_
#define PREFIXD_ENGINE_BACKEND_CPU_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

enum class MemoryUse {
  kDense,   // Will be used throughout: huge pages are asked for.
  kSparse,  // Costs only what is touched; never reserved in advance.
};

// Zeroed, aligned to 64 bytes; a size of zero gives an empty buffer. `what` names it in errors.
// Errors: RESOURCE_EXHAUSTED with the size, also for nullopt (a size that does not fit in 64 bits).
absl::StatusOr<Buffer> AllocateZeroed(std::optional<uint64_t> size_bytes, MemoryUse use,
                                      absl::string_view what);

// Product of sizes, nullopt when it does not fit.
std::optional<uint64_t> SizeProduct(std::initializer_list<uint64_t> factors);

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_MEMORY_H_
