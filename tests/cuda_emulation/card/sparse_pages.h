// In place of ../sparse_pages.h: the pool lies in the card's memory, which is large enough, and the
// host reaches its elements by copies.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_CARD_SPARSE_PAGES_H_
#define PREFIXD_TESTS_CUDA_EMULATION_CARD_SPARSE_PAGES_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "engine/backend/cuda/kernels/types.h"
#include "tests/cuda_emulation/emulator/device_array.h"
#include "tests/cuda_emulation/test_pages.h"

namespace prefixd::cuda {

class SparsePages {
 public:
  SparsePages(const PageShape& shape, Placement placement)
      : view_{nullptr, shape.type, shape.num_pages, shape.num_kv_heads, shape.head_dim},
        memory_(static_cast<size_t>(shape.num_pages * view_.page_elements()) + 5) {
    view_.data = memory_.data() + (placement == Placement::kColumn5 ? 5 : 0);
    if (cudaMemset(memory_.data(), 0, memory_.size() * sizeof(uint16_t)) != cudaSuccess) {
      std::abort();
    }
  }

  const KvPages& view() const { return view_; }
  uint16_t Get(int64_t slot, int part, int64_t head, int64_t c) const {
    uint16_t bits = 0;
    emu::ReadDevice(&bits, At(slot, part, head, c), sizeof(bits));
    return bits;
  }
  void Set(int64_t slot, int part, int64_t head, int64_t c, uint16_t bits) {
    emu::WriteDevice(At(slot, part, head, c), &bits, sizeof(bits));
  }

 private:
  uint16_t* At(int64_t slot, int part, int64_t head, int64_t c) const {
    const int64_t vector = (slot / 16 * 2 + part) * view_.num_kv_heads + head;
    return static_cast<uint16_t*>(view_.data) + (vector * 16 + slot % 16) * view_.head_dim + c;
  }

  KvPages view_;
  emu::DeviceArray<uint16_t> memory_;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_TESTS_CUDA_EMULATION_CARD_SPARSE_PAGES_H_
