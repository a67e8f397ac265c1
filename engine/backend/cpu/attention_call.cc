#include "engine/backend/cpu/attention_call.h"

#include "base/status_macros.h"
#include "engine/backend/cpu/memory.h"

namespace prefixd::cpu {

absl::Status GrowScratch(int64_t floats, Buffer* buffer) {
  const uint64_t bytes = static_cast<uint64_t>(floats) * sizeof(float);
  if (buffer->size_bytes() >= bytes) return absl::OkStatus();
  *buffer = Buffer();
  PREFIXD_ASSIGN_OR_RETURN(*buffer, AllocateZeroed(bytes, MemoryUse::kDense, "scratch of an op"));
  return absl::OkStatus();
}

}  // namespace prefixd::cpu
