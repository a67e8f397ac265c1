#include "engine/backend/cuda/kernels/tile_attention.h"

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/tile_core.h"
#include "engine/backend/cuda/kernels/tile_memory.h"

namespace prefixd::cuda {
namespace {

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
};

// Grid: (num_tiles - 1 - tile) * num_heads + head: blocks that share K and V run side by side, and
// those of a sequence that see most begin first.
template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kTileThreads) TileAttentionKernel(TileArguments args) {
  PREFIXD_DYN_SMEM(shared);
  const RowTile tile = args.tiles[args.num_tiles - 1 - blockIdx.x / args.num_heads];
  const int head = blockIdx.x % args.num_heads;
  if (tile.num_rows <= 0) return;
  const int32_t* const visible = args.rows.visible + tile.row_begin;
  const int32_t* const table = args.rows.tables + static_cast<int64_t>(args.rows.table_stride) *
                                                      args.rows.sequence[tile.row_begin];
  const int kv_head = head / (args.num_heads / args.pages.num_kv_heads);
  const T* const pool =
      static_cast<const T*>(args.pages.data) + static_cast<int64_t>(kv_head) * kSlots * kHeadDim;
  const int64_t page_elements = args.pages.page_elements();

  TileProblem<T> problem;
  problem.q_stride = args.q_stride;
  problem.q =
      static_cast<const T*>(args.q) + tile.row_begin * args.q_stride + int64_t{head} * kHeadDim;
  problem.y_stride = args.y_stride;
  problem.y = static_cast<T*>(args.y) + tile.row_begin * args.y_stride + int64_t{head} * kHeadDim;
  problem.lse_stride = args.num_heads;
  if (args.lse != nullptr) {
    problem.lse = args.lse + int64_t{tile.row_begin} * args.num_heads + head;
  }
  problem.num_rows = tile.num_rows;
  problem.num_chunks = kHeadDim / 8;
  problem.num_keys = MostVisible(visible, tile.num_rows);
  problem.value_offset = args.pages.value_offset();
  problem.scale_log2 = args.scale_log2;
  AttendTile<T, kHeadDim>(
      problem, shared,
      [&](int key) { return pool + table[key / kSlots] * page_elements + key % kSlots * kHeadDim; },
      [&](int row) { return visible[row]; });
}

template <typename T, int kHeadDim>
cudaError_t Launch(const TileArguments& args, unsigned num_blocks, cudaStream_t stream) {
  constexpr int kBytes = TileMemory<T, kHeadDim>::kBlockBytes;
  const cudaError_t allowed = dev::AllowSharedMemory(TileAttentionKernel<T, kHeadDim>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  PREFIXD_LAUNCH((TileAttentionKernel<T, kHeadDim>), dim3(num_blocks), dim3(kTileThreads), kBytes,
                 stream, args);
  return cudaGetLastError();
}

}  // namespace

bool TileKernelTakes(Element activation, const KvPages& pages) {
  return activation != Element::kF32 && pages.type == activation &&
         (pages.head_dim == 64 || pages.head_dim == 128);
}

cudaError_t LaunchTileAttention(const TileAttention& call, cudaStream_t stream) {
  if (call.num_tiles == 0) return cudaSuccess;
  if (call.q == nullptr || call.tiles == nullptr || call.num_tiles < 0 ||
      !TileKernelTakes(call.q->type, call.pages) || call.y.type != call.q->type ||
      call.num_heads <= 0 || call.pages.num_kv_heads <= 0 ||
      call.num_heads % call.pages.num_kv_heads != 0) {
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
  const unsigned blocks = static_cast<unsigned>(num_blocks);
  const bool wide = call.pages.head_dim == 128;
  if (call.q->type == Element::kF16) {
    return wide ? Launch<dev::f16, 128>(args, blocks, stream)
                : Launch<dev::f16, 64>(args, blocks, stream);
  }
  return wide ? Launch<dev::bf16, 128>(args, blocks, stream)
              : Launch<dev::bf16, 64>(args, blocks, stream);
}

}  // namespace prefixd::cuda
