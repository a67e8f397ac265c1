// Paged attention in splits of kSplitSlots slots: one softmax state (maximum, sum, weighted values)
// for every (row, head, split), merged in ascending order. What a row gets depends on that row
// alone, whatever the batch, the chunk or the kernel that computed a state; so this is all that the
// deterministic mode uses. Head h reads kv head h / (num_heads / kv heads).
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_H_

#include <cstddef>

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

// Rows whose first pages are the same (cascade attention): the splits of the shared slots are
// computed once for all rows of a group, by the block of its first row. All arrays [num_rows]; a
// null `shared` groups nothing.
struct RowGroups {
  // Leading slots that the row shares with its group: a multiple of kSlots; in the deterministic
  // mode of kSplitSlots. 0: none.
  const int32_t* shared = nullptr;
  const int32_t* leader = nullptr;        // The group's first row (a row index).
  const int32_t* member_begin = nullptr;  // Of a leader: its rows are members[member_begin ..
  const int32_t* member_count = nullptr;  // member_begin + member_count).
  const int32_t* members = nullptr;       // Row indices, group by group, ascending.
};

enum class SplitKernel {
  kAuto,    // The fastest for the shape; states may differ in rounding from kernel to kernel.
  kMatrix,  // Tensor cores: kF16 or kBF16 with K and V alike, head_dim 64 or 128 (and 256 if it
            // fits).
  kVector,  // One group of lanes a slot; types and head sizes as kMatrix. For decoding.
  kPlain,   // Any type, any head_dim up to 1024.
};

// Whether `kernel` takes this shape (kAuto and kPlain: always).
bool SplitKernelTakes(SplitKernel kernel, Element activation, const KvPages& pages);

struct SplitAttention {
  const DeviceMatrix* q = nullptr;  // [num_rows, >= num_heads * head_dim]
  KvPages pages;
  int num_heads = 0;
  float scale = 0;
  AttentionRows rows;
  RowGroups groups;
  SplitKernel kernel = SplitKernel::kAuto;
  DeviceMatrix y;          // [num_rows, num_heads * head_dim], q's type.
  float* lse = nullptr;    // [num_rows, num_heads] log2 of the sum of 2^(log2(e) * score); or null.
  void* scratch = nullptr;  // Of SplitScratchBytes, aligned to 16 bytes.
};

// Bytes of softmax states for the call; 64-bit, unchecked against memory.
size_t SplitScratchBytes(int64_t num_rows, int num_heads, int head_dim, int32_t max_visible);

cudaError_t LaunchSplitAttention(const SplitAttention& call, cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_H_
