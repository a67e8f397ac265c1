// Memory that one attention call works on, and scratch for it. Safe from any thread.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_CALL_H_
#define PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_CALL_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/backend/cpu/kv_pool.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

// Where one call reads and writes. Head h of row t lies at q + t * q_stride + h * head_dim.
struct AttentionCall {
  const float* q = nullptr;
  ptrdiff_t q_stride = 0;
  float* y = nullptr;
  ptrdiff_t y_stride = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  float scale = 0;
  const float* alibi_slopes = nullptr;  // [num_heads], or null: scores do not get a bias.
  PageLayout layout{ElementType::kF32, 0};
  const std::byte* pages = nullptr;  // Head h of page p at pages + p * page_bytes + h * head_bytes.
  int64_t page_bytes = 0;
  int64_t head_bytes = 0;
  int64_t positions_offset = 0;  // Of the positions of a page's slots within it; for ALiBi.

  const std::byte* page(int64_t id) const { return pages + id * page_bytes; }
  const float* positions(int64_t id) const {
    return reinterpret_cast<const float*>(page(id) + positions_offset);
  }
  // What softmax multiplies the scores with: with a bias they come multiplied.
  float softmax_scale() const { return alibi_slopes != nullptr ? 1.0f : scale; }
};

// Multiply-adds below which waking other threads costs more than it gives.
inline constexpr int64_t kInlineAttentionWork = 32 << 10;

// Makes room for so many floats; what the buffer held is lost. Errors: RESOURCE_EXHAUSTED.
absl::Status GrowScratch(int64_t floats, Buffer* buffer);

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_ATTENTION_CALL_H_
