// Flash attention on tensor cores over tiles of 64 rows: prefill over pages, and the self-attention
// of an image over dense K and V. Algorithm: FlashAttention-2 (arXiv:2307.08691).
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_ATTENTION_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_ATTENTION_H_

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

inline constexpr int kTileRows = 64;

// Consecutive rows of one sequence; `visible` of AttentionRows ascends within a tile (causal, with
// a cached prefix) or is what the rows of a bidirectional prefix see.
struct RowTile {
  int32_t row_begin = 0;
  int32_t num_rows = 0;  // 1..kTileRows; 0: the block has nothing to do.
};

// Whether the tile kernels take this shape: kF16 or kBF16 with K and V alike, head_dim 64, 72,
// 80 or 128.
bool TileKernelTakes(Element activation, const KvPages& pages);

// Slots that no row of a tile sees are not read. What a row gets depends on that row alone, not on
// the rows of its tile. Rows of q and y, and the pages, are aligned to 16 bytes.
struct TileAttention {
  const DeviceMatrix* q = nullptr;  // As in SplitAttention.
  KvPages pages;
  int num_heads = 0;
  float scale = 0;
  const float* slopes = nullptr;  // As in SplitAttention.
  AttentionRows rows;
  const RowTile* tiles = nullptr;  // [num_tiles], device memory.
  int32_t num_tiles = 0;
  DeviceMatrix y;        // Rows outside all tiles are left alone.
  float* lse = nullptr;  // As in SplitAttention.
};
cudaError_t LaunchTileAttention(const TileAttention& call, cudaStream_t stream);

// qkv: [T, 3 * num_heads * head_dim] (q, k, v), y: [T, num_heads * head_dim]; every row sees all T.
// Tensor cores for kF16 and kBF16 with head_dim <= 128 (padded in shared memory to a multiple of
// 16) where rows and heads are aligned to 16 bytes, else plain loops of any head_dim up to 1024.
cudaError_t LaunchVisionAttention(const DeviceMatrix& qkv, int num_heads, float scale,
                                  const DeviceMatrix& y, cudaStream_t stream);

// The same for queries that are not the keys: q, y: [T, num_heads * head_dim], kv: [keys >= 1, 2 *
// num_heads * head_dim] (k, v). What a row gets depends on that row alone.
cudaError_t LaunchCrossAttention(const DeviceMatrix& q, const DeviceMatrix& kv, int num_heads,
                                 float scale, const DeviceMatrix& y, cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_ATTENTION_H_
