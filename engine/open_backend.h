// Makes the backend that the options ask for, and fixes what follows from it: types, and the size
// of the KV pool.
#ifndef PREFIXD_ENGINE_OPEN_BACKEND_H_
#define PREFIXD_ENGINE_OPEN_BACKEND_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/engine.h"
#include "engine/models/model.h"
#include "engine/options.h"

namespace prefixd {

struct OpenedBackend {
  std::unique_ptr<Backend> backend;
  KvPoolShape kv_shape;
  uint64_t page_bytes = 0;
  EngineRuntimeInfo runtime_info;
};

// With backend "auto" a card that does not hold the model is a reason to take the CPU; the log says
// so. Errors: INVALID_ARGUMENT naming the option; FAILED_PRECONDITION for a backend or level that
// this machine cannot run; RESOURCE_EXHAUSTED for a card that is too small. One line each.
absl::StatusOr<OpenedBackend> OpenBackend(const EngineOptions& options, const ModelSpec& spec);

// Bytes for keys and values: options.kv_memory_bytes if set, else a part of the memory.
// `free_device` is what the card has (Backend::AvailableMemory), 0 if the backend has no memory but
// the host's, `free_host` what the host has. Errors: RESOURCE_EXHAUSTED for a card on which weights
// and pages do not fit.
absl::StatusOr<uint64_t> KvMemoryBytes(const EngineOptions& options, const ModelSpec& spec,
                                       DType activation_dtype, uint64_t free_device,
                                       uint64_t free_host);

}  // namespace prefixd

#endif  // PREFIXD_ENGINE_OPEN_BACKEND_H_
