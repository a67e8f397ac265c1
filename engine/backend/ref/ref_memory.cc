#include "engine/backend/ref/ref_memory.h"

#include <cstring>

#include "base/status_macros.h"
#include "engine/backend/cpu/memory.h"
#include "engine/tensor/half.h"

namespace prefixd::ref {

absl::StatusOr<std::unique_ptr<RefMatrix>> RefMatrix::Create(DType dtype, int64_t rows,
                                                             int64_t cols) {
  PREFIXD_CHECK(rows >= 1 && cols >= 1 && dtype != DType::kF64);
  PREFIXD_ASSIGN_OR_RETURN(
      Buffer buffer,
      cpu::AllocateZeroed(cpu::SizeProduct({DTypeSize(dtype), static_cast<uint64_t>(rows),
                                            static_cast<uint64_t>(cols)}),
                          cpu::MemoryUse::kDense, "a weight matrix"));
  return std::unique_ptr<RefMatrix>(new RefMatrix(dtype, rows, cols, std::move(buffer)));
}

void RefMatrix::WriteRows(int64_t row_begin, absl::Span<const uint8_t> bytes) {
  const size_t row_bytes = cols() * DTypeSize(dtype());
  PREFIXD_CHECK(bytes.size() % row_bytes == 0 && row_begin >= 0);
  PREFIXD_CHECK(row_begin + static_cast<int64_t>(bytes.size() / row_bytes) <= rows());
  if (!bytes.empty()) {
    std::memcpy(buffer_.data() + row_begin * row_bytes, bytes.data(), bytes.size());
  }
}

void RefMatrix::ReadRow(int64_t row, double* y) const {
  PREFIXD_CHECK(row >= 0 && row < rows());
  const std::byte* data = buffer_.data() + row * cols() * DTypeSize(dtype());
  switch (dtype()) {
    case DType::kF64:
      PREFIXD_CHECK(false);
    case DType::kF32: {
      const float* x = reinterpret_cast<const float*>(data);
      for (int64_t i = 0; i < cols(); ++i) y[i] = x[i];
      return;
    }
    case DType::kF16: {
      const uint16_t* x = reinterpret_cast<const uint16_t*>(data);
      for (int64_t i = 0; i < cols(); ++i) y[i] = F16ToFloat(x[i]);
      return;
    }
    case DType::kBF16: {
      const uint16_t* x = reinterpret_cast<const uint16_t*>(data);
      for (int64_t i = 0; i < cols(); ++i) y[i] = BF16ToFloat(x[i]);
      return;
    }
  }
}

absl::StatusOr<std::unique_ptr<RefKvPool>> RefKvPool::Create(const KvPoolShape& shape) {
  PREFIXD_CHECK(shape.num_pages >= 0 && shape.num_kv_heads >= 1 && shape.head_dim >= 1);
  KvPoolShape stored = shape;
  stored.dtype = DType::kF64;
  PREFIXD_ASSIGN_OR_RETURN(
      Buffer buffer,
      cpu::AllocateZeroed(
          cpu::SizeProduct({2 * sizeof(double), kPageSlots, static_cast<uint64_t>(shape.num_pages),
                            static_cast<uint64_t>(shape.num_kv_heads),
                            static_cast<uint64_t>(shape.head_dim)}),
          cpu::MemoryUse::kSparse, "the KV pages"));
  return std::unique_ptr<RefKvPool>(new RefKvPool(stored, std::move(buffer)));
}

int64_t RefKvPool::page_size() const {
  return int64_t{kPageSlots} * shape().num_kv_heads * 2 * shape().head_dim;
}

double* RefKvPool::Page(int32_t id) const {
  PREFIXD_CHECK(id >= 0 && id < shape().num_pages);
  return reinterpret_cast<double*>(buffer_.data()) + id * page_size();
}

double* RefKvPool::Key(absl::Span<const int32_t> pages, int32_t slot, int kv_head) const {
  PREFIXD_CHECK(slot >= 0 && slot / kPageSlots < static_cast<int64_t>(pages.size()));
  PREFIXD_CHECK(kv_head >= 0 && kv_head < shape().num_kv_heads);
  const int64_t head = int64_t{slot % kPageSlots} * shape().num_kv_heads + kv_head;
  return Page(pages[slot / kPageSlots]) + head * 2 * shape().head_dim;
}

double* RefKvPool::Value(absl::Span<const int32_t> pages, int32_t slot, int kv_head) const {
  return Key(pages, slot, kv_head) + shape().head_dim;
}

void RefKvPool::CopyPage(int32_t source, int32_t destination) const {
  PREFIXD_CHECK(source != destination);
  std::memcpy(Page(destination), Page(source), page_size() * sizeof(double));
}

}  // namespace prefixd::ref
