// What launchers share: checks of shapes, the choice of a kernel's instance, and grids.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_LAUNCH_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_LAUNCH_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

// Columns and items of a row are counted in 32 bits; rows are blocks of a grid.
inline constexpr int64_t kMaxColumns = int64_t{1} << 23;
inline constexpr int64_t kMaxRows = INT32_MAX;

inline bool IsMultiple(const void* data, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(bytes) == 0;
}

// Whether `m` can be given to a kernel: limits, no overlap of rows, alignment of an element.
inline bool IsValid(const DeviceMatrix& m) {
  if (m.rows < 0 || m.rows > kMaxRows || m.cols < 0 || m.cols > kMaxColumns) return false;
  if (m.rows == 0 || m.cols == 0) return true;
  return m.data != nullptr && IsMultiple(m.data, ElementSize(m.type)) &&
         (m.rows == 1 || m.stride >= m.cols);
}

inline bool IsValid(const KvPages& pages) {
  return pages.data != nullptr && IsMultiple(pages.data, ElementSize(pages.type)) &&
         pages.num_pages >= 0 && pages.num_kv_heads > 0 && pages.head_dim > 0 &&
         int64_t{pages.num_kv_heads} * pages.head_dim <= kMaxColumns / (2 * kSlots);
}

inline bool SameShape(const DeviceMatrix& a, const DeviceMatrix& b) {
  return a.rows == b.rows && a.cols == b.cols;
}

inline bool IsRowOf(const DeviceMatrix& row, const DeviceMatrix& m) {
  return IsValid(row) && row.type == m.type && row.rows == 1 && row.cols == m.cols;
}

// Whether every row starts at a multiple of 16 bytes.
inline bool IsAligned(const DeviceMatrix& m) {
  return IsMultiple(m.data, 16) && (m.rows <= 1 || m.stride * ElementSize(m.type) % 16 == 0);
}

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A block for `items` threads of one row: whole warps, at most `max_threads`.
inline unsigned BlockSize(int64_t items, int64_t max_threads) {
  const int64_t warps = CeilDiv(items, 32);
  return static_cast<unsigned>(warps * 32 < max_threads ? warps * 32 : max_threads);
}

// Row r, items [y * block, (y + 1) * block): one thread each.
struct RowGrid {
  static constexpr int kMaxThreads = 256;
  // Requires: 0 < rows <= kMaxRows, 0 < items <= kMaxColumns, so that grid.y fits.
  RowGrid(int64_t rows, int64_t items)
      : block(BlockSize(items, kMaxThreads)),
        grid(static_cast<unsigned>(rows), static_cast<unsigned>(CeilDiv(items, block.x))) {}
  dim3 block, grid;
};

template <typename T>
struct TypeTag {
  using type = T;
};

// fn(TypeTag<the C++ type of `type`>).
template <typename Fn>
cudaError_t ForElement(Element type, Fn fn) {
  switch (type) {
    case Element::kF32:
      return fn(TypeTag<float>{});
    case Element::kF16:
      return fn(TypeTag<dev::f16>{});
    case Element::kBF16:
      return fn(TypeTag<dev::bf16>{});
  }
  return cudaErrorInvalidValue;
}

template <typename Fn>
cudaError_t ForBool(bool value, Fn fn) {
  return value ? fn(std::true_type{}) : fn(std::false_type{});
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_LAUNCH_H_
