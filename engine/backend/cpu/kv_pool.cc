#include "engine/backend/cpu/kv_pool.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "engine/backend/cpu/memory.h"
#include "engine/tensor/half.h"

namespace prefixd::cpu {
namespace {

constexpr int RoundUp(int n, int to) { return (n + to - 1) / to * to; }

}  // namespace

PageLayout::PageLayout(ElementType type, int head_dim)
    : type(type), head_dim(head_dim), value_stride(RoundUp(head_dim, 16)) {
  const int64_t key_rows = type == ElementType::kBF16 ? (head_dim + 1) / 2 : head_dim;
  key_bytes = key_rows * 64;
  value_bytes = int64_t{kPageRows} * value_stride * (type == ElementType::kBF16 ? 2 : 4);
}

void PageLayout::WriteSlot(int slot, const float* k, const float* v, std::byte* head) const {
  if (type == ElementType::kF32) {
    float* keys = reinterpret_cast<float*>(head) + slot;
    float* values = reinterpret_cast<float*>(head + key_bytes) + int64_t{slot} * value_stride;
    for (int d = 0; d < head_dim; ++d) keys[d * kPageRows] = k[d];
    for (int d = 0; d < head_dim; ++d) values[d] = v[d];
    return;
  }
  uint16_t* keys = reinterpret_cast<uint16_t*>(head) + 2 * slot;
  uint16_t* values = reinterpret_cast<uint16_t*>(head + key_bytes) + int64_t{slot} * value_stride;
  for (int d = 0; d < head_dim; ++d) keys[d / 2 * 2 * kPageRows + d % 2] = FloatToBF16(k[d]);
  for (int d = 0; d < head_dim; ++d) values[d] = FloatToBF16(v[d]);
}

PagedKvPool::PagedKvPool(const KvPoolShape& shape, const PageLayout& layout, Buffer buffer)
    : KvPool(shape), layout_(layout), buffer_(std::move(buffer)) {}

absl::StatusOr<std::unique_ptr<PagedKvPool>> PagedKvPool::Create(const KvPoolShape& shape) {
  PREFIXD_CHECK(shape.num_pages >= 1 && shape.num_kv_heads >= 1 && shape.head_dim >= 1);
  if (shape.dtype != DType::kF32 && shape.dtype != DType::kBF16) {
    return absl::InvalidArgumentError(
        absl::StrCat("the cpu backend stores KV in f32 or bf16, not ", DTypeName(shape.dtype)));
  }
  // PageLayout multiplies ints below; the cap keeps every product far from overflow.
  if (shape.head_dim > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("head_dim ", shape.head_dim, " is above the limit 65536"));
  }
  const PageLayout layout(shape.dtype == DType::kF32 ? ElementType::kF32 : ElementType::kBF16,
                          shape.head_dim);
  // Below 2^54 by the cap.
  const uint64_t heads =
      static_cast<uint64_t>(layout.head_bytes()) * static_cast<uint64_t>(shape.num_kv_heads);
  const uint64_t positions = shape.keeps_positions ? kPageRows * sizeof(float) : 0;
  const auto size = SizeProduct({heads + positions, static_cast<uint64_t>(shape.num_pages)});
  PREFIXD_ASSIGN_OR_RETURN(Buffer buffer, AllocateZeroed(size, MemoryUse::kSparse, "KV pages"));
  return std::unique_ptr<PagedKvPool>(new PagedKvPool(shape, layout, std::move(buffer)));
}

}  // namespace prefixd::cpu
