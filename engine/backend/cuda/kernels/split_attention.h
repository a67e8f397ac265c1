// Paged attention in splits of kSplitSlots slots: one softmax state (maximum, sum, weighted values)
// for every (row, head, split), merged in ascending order. What a row gets depends on that row
// alone, whatever the batch, the chunk or the kernel that computed a state; so this is all that the
// deterministic mode uses. A row of a tree gets what a row gets that sees the same slots in that
// order. Head h reads kv head h / (num_heads / kv heads).
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_H_

#include <cstddef>

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

// Rows whose first pages are the same (cascade attention): kMatrix computes the splits of the
// shared slots once for all rows of a group, 64 pairs (row, head of a kv head) a block, by the
// blocks of its first rows; kVector and kPlain read each row's pages for itself. All arrays
// [num_rows]; a null `shared` groups nothing.
struct RowGroups {
  // Leading slots that the row shares with its group: a multiple of kSlots, at most what the row
  // sees, the same for all of a group; in the deterministic mode a multiple of kSplitSlots, which
  // leaves kMatrix's bits as they are without groups. 0: none, and the row's other entries are not
  // read.
  const int32_t* shared = nullptr;
  const int32_t* leader = nullptr;        // The group's first row (a row index).
  const int32_t* member_begin = nullptr;  // Of a leader: its rows are members[member_begin ..
  const int32_t* member_count = nullptr;  // member_begin + member_count).
  const int32_t* members = nullptr;       // Row indices, group by group, ascending.
};

enum class SplitKernel {
  // The fastest for the shape, the alignment and whether rows are grouped. States may differ in
  // rounding from kernel to kernel, so the deterministic mode names one.
  kAuto,
  // Tensor cores: kF16 or kBF16 with K and V alike, head_dim 64, 128 or 256; q and pages aligned to
  // 16 bytes, q's stride a multiple of 8 elements (else cudaErrorInvalidValue).
  kMatrix,
  // One group of lanes a slot; takes what kMatrix takes, but no trees. For decoding with few heads.
  kVector,
  kPlain,  // Any types, any head_dim up to 1024, any alignment.
};

// Whether `kernel` takes this shape (kAuto and kPlain: always).
bool SplitKernelTakes(SplitKernel kernel, Element activation, const KvPages& pages);

struct SplitAttention {
  const DeviceMatrix* q = nullptr;  // [num_rows, >= num_heads * head_dim]
  KvPages pages;
  int num_heads = 0;
  float scale = 0;
  const float* slopes = nullptr;  // Of ALiBi, [num_heads]; then positions of slots and rows, too.
  AttentionRows rows;
  RowGroups groups;
  SplitKernel kernel = SplitKernel::kAuto;
  DeviceMatrix y;        // [num_rows, num_heads * head_dim], q's type.
  float* lse = nullptr;  // [num_rows, num_heads] log2 of the sum of 2^(log2(e) * score); or null.
  void* scratch = nullptr;  // Of SplitScratchBytes, aligned to 16 bytes.
};

// Bytes of softmax states for the call; 64-bit, unchecked against memory.
size_t SplitScratchBytes(int64_t num_rows, int num_heads, int head_dim, int32_t max_visible);

cudaError_t LaunchSplitAttention(const SplitAttention& call, cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_ATTENTION_H_
