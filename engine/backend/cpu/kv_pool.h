// All pages of K and V in one mapping that costs only what has been touched. A page holds, per kv
// head, K and then V:
//
//   f32:  K [head_dim][16 slots]               V [16 slots][value_stride]
//   bf16: K [ceil(head_dim / 2)][16 slots][2]  V [16 slots][value_stride]
//
// and behind its heads, where the pool keeps positions, those of the 16 slots as f32,
// so that one vector of K is one component of 16 slots. value_stride is head_dim rounded up to 16.
// Engine thread only.
#ifndef PREFIXD_ENGINE_BACKEND_CPU_KV_POOL_H_
#define PREFIXD_ENGINE_BACKEND_CPU_KV_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/backend/backend.h"
#include "engine/backend/cpu/kernels.h"
#include "engine/tensor/tensor.h"

namespace prefixd::cpu {

// Bytes of K and of V of one kv head in a page; both are multiples of 64.
struct PageLayout {
  PageLayout(ElementType type, int head_dim);

  int64_t head_bytes() const { return key_bytes + value_bytes; }
  // Writes one slot of one head. `head` points at the head's K.
  void WriteSlot(int slot, const float* k, const float* v, std::byte* head) const;

  ElementType type;
  int head_dim;
  int value_stride;
  int64_t key_bytes;
  int64_t value_bytes;
};

class PagedKvPool final : public KvPool {
 public:
  // Errors: INVALID_ARGUMENT for a dtype other than kF32 and kBF16; RESOURCE_EXHAUSTED.
  static absl::StatusOr<std::unique_ptr<PagedKvPool>> Create(const KvPoolShape& shape);

  const PageLayout& layout() const { return layout_; }
  int64_t page_bytes() const {
    return positions_offset() + (shape().keeps_positions ? kPageRows * sizeof(float) : 0);
  }
  int64_t positions_offset() const { return layout_.head_bytes() * shape().num_kv_heads; }
  std::byte* page(int32_t id) const { return buffer_.data() + page_bytes() * id; }
  // The head's K; its V follows after layout().key_bytes.
  std::byte* head(int32_t page_id, int kv_head) const {
    return page(page_id) + layout_.head_bytes() * kv_head;
  }
  // [16]. Requires: the shape keeps positions.
  float* positions(int32_t page_id) const {
    return reinterpret_cast<float*>(page(page_id) + positions_offset());
  }

 private:
  PagedKvPool(const KvPoolShape& shape, const PageLayout& layout, Buffer buffer);

  const PageLayout layout_;
  const Buffer buffer_;
};

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_KV_POOL_H_
