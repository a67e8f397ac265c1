// The kernel of tile attention over pages, for tile_attention*.cu only: one file a type keeps them
// short to compile.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_PAGED_TILE_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_PAGED_TILE_H_

#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/alibi.h"
#include "engine/backend/cuda/kernels/tile_core.h"
#include "engine/backend/cuda/kernels/tile_memory.h"

namespace prefixd::cuda {

struct TileArguments {
  const void* q = nullptr;
  int64_t q_stride = 0;
  void* y = nullptr;
  int64_t y_stride = 0;
  float* lse = nullptr;
  KvPages pages;
  AttentionRows rows;
  const RowTile* tiles = nullptr;
  int num_tiles = 0;
  int num_heads = 0;
  float scale_log2 = 0;
  const float* slopes = nullptr;  // As in TileAttention.
};

// Requires what LaunchTileAttention checks.
cudaError_t LaunchTilesF16(const TileArguments& args, cudaStream_t stream);
cudaError_t LaunchTilesBF16(const TileArguments& args, cudaStream_t stream);

// Grid: (num_tiles - 1 - tile) * num_heads + head: blocks that share K and V run side by side, and
// those of a sequence that see most begin first.
template <typename T, int kWidth, bool kAlibi>
__global__ void __launch_bounds__(kTileThreads) TileAttentionKernel(TileArguments args) {
  PREFIXD_DYN_SMEM(shared);
  const int head_dim = TileHeadDim<kWidth>(args.pages);
  const RowTile tile = args.tiles[args.num_tiles - 1 - blockIdx.x / args.num_heads];
  const int head = blockIdx.x % args.num_heads;
  if (tile.num_rows <= 0) return;
  const int32_t* const visible = args.rows.visible + tile.row_begin;
  const int32_t* const table = args.rows.tables + static_cast<int64_t>(args.rows.table_stride) *
                                                      args.rows.sequence[tile.row_begin];
  const int kv_head = head / (args.num_heads / args.pages.num_kv_heads);
  const T* const pool =
      static_cast<const T*>(args.pages.data) + static_cast<int64_t>(kv_head) * kSlots * head_dim;
  const int64_t page_elements = args.pages.page_elements();

  TileProblem<T> problem;
  problem.q_stride = args.q_stride;
  problem.q =
      static_cast<const T*>(args.q) + tile.row_begin * args.q_stride + int64_t{head} * head_dim;
  problem.y_stride = args.y_stride;
  problem.y = static_cast<T*>(args.y) + tile.row_begin * args.y_stride + int64_t{head} * head_dim;
  problem.lse_stride = args.num_heads;
  if (args.lse != nullptr) {
    problem.lse = args.lse + int64_t{tile.row_begin} * args.num_heads + head;
  }
  problem.num_rows = tile.num_rows;
  problem.num_chunks = head_dim / 8;
  problem.num_keys = MostVisible(visible, tile.num_rows);
  problem.value_offset = args.pages.value_offset();
  problem.scale_log2 = args.scale_log2;
  const auto key_at = [&](int key) {
    return pool + table[key / kSlots] * page_elements + key % kSlots * head_dim;
  };
  const auto visible_at = [&](int row) { return visible[row]; };
  if constexpr (kAlibi) {
    TileDistances distances;
    distances.pages = args.pages;
    distances.table = table;
    distances.row_positions = args.rows.position + tile.row_begin;
    distances.slope_log2 = SlopeLog2(args.slopes, head);
    AttendTile<T, kWidth>(problem, shared, key_at, visible_at, distances);
  } else {
    AttendTile<T, kWidth>(problem, shared, key_at, visible_at, NoDistances());
  }
}

template <typename T, int kWidth, bool kAlibi>
cudaError_t LaunchTileKernel(const TileArguments& args, cudaStream_t stream) {
  constexpr int kBytes = TileMemory<T, kWidth>::kBlockBytes;
  const cudaError_t allowed =
      dev::AllowSharedMemory(TileAttentionKernel<T, kWidth, kAlibi>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const unsigned blocks = static_cast<unsigned>(int64_t{args.num_tiles} * args.num_heads);
  PREFIXD_LAUNCH((TileAttentionKernel<T, kWidth, kAlibi>), dim3(blocks), dim3(kTileThreads), kBytes,
                 stream, args);
  return cudaGetLastError();
}

template <typename T, int kWidth>
cudaError_t LaunchTileWidth(const TileArguments& args, cudaStream_t stream) {
  return args.slopes != nullptr ? LaunchTileKernel<T, kWidth, true>(args, stream)
                                : LaunchTileKernel<T, kWidth, false>(args, stream);
}

template <typename T>
cudaError_t LaunchTiles(const TileArguments& args, cudaStream_t stream) {
  if (args.pages.head_dim == 64) return LaunchTileWidth<T, 64>(args, stream);
  if (args.pages.head_dim == 128) return LaunchTileWidth<T, 128>(args, stream);
  return LaunchTileWidth<T, 80>(args, stream);
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_PAGED_TILE_H_
