// What the kernels of the CUDA backend and its host code pass to each other: plain data, host
// structs whose pointers are device memory. Kernel headers include this and the CUDA runtime only.
//
// Every launcher checks shapes and alignment (a wrong one is a bug of the host code and returns
// cudaErrorInvalidValue), enqueues on `stream`, allocates nothing and returns the launch's error.
// Pointers need no alignment beyond their element's: a launcher takes 16-byte accesses where data,
// strides and sizes allow. Padding rows are rows whose outputs nobody reads.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TYPES_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TYPES_H_

#include <cuda_runtime.h>

#include <cstdint>

namespace prefixd::cuda {

enum class Element : uint8_t { kF32, kF16, kBF16 };

constexpr int64_t ElementSize(Element type) { return type == Element::kF32 ? 4 : 2; }

// A row-major matrix; a vector is a matrix of one row.
struct DeviceMatrix {
  void* data = nullptr;
  Element type = Element::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // In elements.
};

// As prefixd::Activation, value by value.
enum class KernelActivation : uint8_t { kNone, kRelu, kSilu, kQuickGelu, kGelu, kGeluTanh };

inline constexpr int kSlots = 16;        // In a page.
inline constexpr int kSplitSlots = 256;  // Attention merges one softmax state per so many slots.

// All pages of K and V, each of one layer: [K or V][kv head][slot][head_dim]. Offsets are 64-bit:
// pools are larger than 2^32 elements.
struct KvPages {
  void* data = nullptr;
  Element type = Element::kF32;
  int32_t num_pages = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t* positions = nullptr;  // [num_pages][kSlots], of the slots' tokens; or null: not kept.

  __host__ __device__ int64_t value_offset() const {
    return static_cast<int64_t>(num_kv_heads) * kSlots * head_dim;
  }
  __host__ __device__ int64_t page_elements() const { return 2 * value_offset(); }
};

// The rows of one attention call. Row r sees slots [0, visible[r]) of its sequence. In a call of
// trees (KvSegment's, engine/backend/backend.h) it sees slots [0, context[r]) and then, as its
// slots context[r] .. visible[r] - 1, slots paths[path_begin[r]], paths[path_begin[r] + 1], ... of
// the sequence.
struct AttentionRows {
  int32_t num_rows = 0;
  const int32_t* sequence = nullptr;  // [num_rows]
  const int32_t* visible = nullptr;   // [num_rows]; 0: padding, its output is zero.
  const int32_t* tables = nullptr;    // [sequence][table_stride] page ids.
  int32_t table_stride = 0;
  int32_t max_visible = 0;            // At least the largest of `visible`; fixes the grid.
  const int32_t* position = nullptr;  // [num_rows], for ALiBi only.
  // [num_rows], [num_rows], and the paths one behind the other; all null: no trees.
  const int32_t* context = nullptr;
  const int32_t* path_begin = nullptr;
  const int32_t* paths = nullptr;
};

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TYPES_H_
