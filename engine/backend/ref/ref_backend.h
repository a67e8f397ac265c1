// The specification of every op: plain loops in double precision. Slow, single-threaded, for tests
// and goldens only.
#ifndef PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_H_
#define PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/registry.h"

namespace prefixd {

// A backend whose activations and KV are kF64; weights keep their dtype and are widened exactly.
// Errors: INVALID_ARGUMENT for another activation dtype than the default.
absl::StatusOr<std::unique_ptr<Backend>> CreateRefBackend(const BackendOptions& options);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_H_
