// The reference backend: every op as its formula reads, in double precision, on one thread. It is
// the specification that the other backends are compared with. Activations and KV are kF64; weights
// keep their dtype and are widened. Clear before fast, and fast enough for the demo model.
#ifndef PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_H_
#define PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/registry.h"

namespace prefixd {

// Ignores everything in `options`: there is one precision, one thread and one level.
absl::StatusOr<std::unique_ptr<Backend>> CreateRefBackend(const BackendOptions& options);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_REF_REF_BACKEND_H_
