// The CPU backend: packed weight panels, register-tiled kernels chosen by the CPU's features, one
// persistent thread pool. Activations are float32 at every batch size and level.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_CPU_BACKEND_H_
#define PREFIXD_ENGINE_BACKEND_CPU_CPU_BACKEND_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/registry.h"

namespace prefixd {

// Ignores `options.name`. With activation dtype bf16 (level avx512bf16 only) Linear rounds its
// input to bf16 where the weights are bf16; tensors and info().activation_dtype stay f32.
//  Errors: INVALID_ARGUMENT for an unknown level or a thread count outside
// [0, 256]; FAILED_PRECONDITION for a level that this CPU cannot run; UNIMPLEMENTED for an
// activation dtype that the level lacks; RESOURCE_EXHAUSTED.
absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(const BackendOptions& options);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_BACKEND_CPU_CPU_BACKEND_H_
