// The door of tile attention: checks, and the choice of a kernel.
#include "engine/backend/cuda/kernels/tile_attention.h"

#include "engine/backend/cuda/kernels/paged_tile.h"
#include "engine/backend/cuda/kernels/tile_memory.h"

namespace prefixd::cuda {

bool TileKernelTakes(Element activation, const KvPages& pages) {
  return activation != Element::kF32 && pages.type == activation &&
         (pages.head_dim == 64 || pages.head_dim == 72 || pages.head_dim == 80 ||
          pages.head_dim == 128);
}

cudaError_t LaunchTileAttention(const TileAttention& call, cudaStream_t stream) {
  if (call.num_tiles == 0) return cudaSuccess;
  if (call.q == nullptr || call.tiles == nullptr || call.num_tiles < 0 ||
      !TileKernelTakes(call.q->type, call.pages) || call.y.type != call.q->type ||
      call.num_heads <= 0 || call.pages.num_kv_heads <= 0 ||
      call.num_heads % call.pages.num_kv_heads != 0 ||
      (call.slopes != nullptr &&
       (call.pages.positions == nullptr || call.rows.position == nullptr))) {
    return cudaErrorInvalidValue;
  }
  const int64_t width = int64_t{call.num_heads} * call.pages.head_dim;
  const int64_t num_blocks = int64_t{call.num_tiles} * call.num_heads;
  if (call.q->cols < width || call.y.cols < width || call.q->rows < call.rows.num_rows ||
      call.y.rows < call.rows.num_rows || num_blocks > INT32_MAX ||
      !Aligned16(call.q->data, call.q->stride, call.q->type) ||
      !Aligned16(call.y.data, call.y.stride, call.y.type) ||
      !Aligned16(call.pages.data, 0, call.pages.type)) {
    return cudaErrorInvalidValue;
  }
  TileArguments args;
  args.q = call.q->data;
  args.q_stride = call.q->stride;
  args.y = call.y.data;
  args.y_stride = call.y.stride;
  args.lse = call.lse;
  args.pages = call.pages;
  args.rows = call.rows;
  args.tiles = call.tiles;
  args.num_tiles = call.num_tiles;
  args.num_heads = call.num_heads;
  args.scale_log2 = call.scale * kLog2E;
  args.slopes = call.slopes;
  return call.q->type == Element::kF16 ? LaunchTilesF16(args, stream)
                                       : LaunchTilesBF16(args, stream);
}

}  // namespace prefixd::cuda
