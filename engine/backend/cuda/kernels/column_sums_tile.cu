// The first pass of column sums on tensor cores: a block has 64 slots (the rows of K Q^T, 16 a
// warp) and 64 query rows, and adds up the probabilities of all heads in registers. K and Q of the
// next head arrive while this one is multiplied.
#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/alibi.h"
#include "engine/backend/cuda/kernels/column_sums_core.h"
#include "engine/backend/cuda/kernels/tile_memory.h"

namespace prefixd::cuda {
namespace {

using Fragments = float[kTileRows / 8][4];  // Of 16 slots (rows) and 64 query rows (columns).

// scores = K Q^T of the warp's slots.
template <typename T, int kWidth>
__device__ __forceinline__ void ScoreSlots(const T* keys, const T* queries, Fragments& scores) {
  using Memory = TileMemory<T, kWidth>;
  const int lane = threadIdx.x % 32, first_slot = threadIdx.x / 32 * 16;
  PREFIXD_UNROLL
  for (int n = 0; n < kTileRows / 8; ++n) {
    PREFIXD_UNROLL
    for (int j = 0; j < 4; ++j) scores[n][j] = 0;
  }
  PREFIXD_UNROLL
  for (int k = 0; k < kWidth / 16; ++k) {
    uint32_t a[4];
    dev::LdMatrix4<false>(a, Memory::At(keys, first_slot + lane % 16, k * 2 + lane / 16));
    PREFIXD_UNROLL
    for (int n = 0; n < kTileRows / 8; n += 2) {
      uint32_t b[4];
      dev::LdMatrix4<false>(
          b, Memory::At(queries, n * 8 + lane % 8 + lane / 16 * 8, k * 2 + lane / 8 % 2));
      dev::Mma16816<T>(scores[n], a, {b[0], b[1]});
      dev::Mma16816<T>(scores[n + 1], a, {b[2], b[3]});
    }
  }
}

// Grid: (tiles of slots, tiles of rows, segments).
template <typename T, int kWidth, bool kAlibi>
__global__ void __launch_bounds__(kTileThreads, 3)
    TileProbabilitiesKernel(ColumnSumArguments args) {
  using Memory = TileMemory<T, kWidth>;
  PREFIXD_DYN_SMEM(shared);
  const int head_dim = TileHeadDim<kWidth>(args.pages);
  const SummedRows segment = args.segments[blockIdx.z];
  const int first_row = static_cast<int>(blockIdx.y) * kTileRows;
  const int first_slot = static_cast<int>(blockIdx.x) * kTileRows;
  if (first_row >= segment.num_rows || first_slot >= segment.num_slots) return;
  const int num_rows = min(kTileRows, segment.num_rows - first_row);
  const int64_t row_begin = static_cast<int64_t>(segment.row_begin) + first_row;
  const int32_t* const visible = args.rows.visible + row_begin;
  const int most = min(MostVisible(visible, num_rows), segment.num_slots);

  const int32_t* const table = args.rows.tables + static_cast<int64_t>(args.rows.table_stride) *
                                                      args.rows.sequence[row_begin];
  const int group = args.num_heads / args.pages.num_kv_heads;
  const int64_t page_elements = args.pages.page_elements();
  T* const tiles = reinterpret_cast<T*>(shared);  // Two stages of Q, then two of K.
  float* const norms = reinterpret_cast<float*>(shared + Memory::kBlockBytes);  // [2][kTileRows]
  int* const positions = reinterpret_cast<int*>(norms + 2 * kTileRows);  // Of rows; with kAlibi.
  const auto queries = [&](int head) { return tiles + head % 2 * Memory::kElements; };
  const auto keys = [&](int kv_head) { return tiles + (2 + kv_head % 2) * Memory::kElements; };
  const auto load = [&](int head) {
    const T* const q =
        static_cast<const T*>(args.q) + row_begin * args.q_stride + int64_t{head} * head_dim;
    Memory::Load(queries(head), num_rows, head_dim / 8,
                 [&](int row) { return q + row * args.q_stride; });
    if (head % group == 0) {
      const int kv_head = head / group;
      const T* const pool =
          static_cast<const T*>(args.pages.data) + int64_t{kv_head} * kSlots * head_dim;
      Memory::Load(keys(kv_head), most - first_slot, head_dim / 8, [&](int row) {
        const int slot = first_slot + row;
        return pool + table[slot / kSlots] * page_elements + slot % kSlots * head_dim;
      });
    }
    dev::CpAsyncCommit();
  };

  const int lane = threadIdx.x % 32, warp_slot = threadIdx.x / 32 * 16;
  const bool norm_thread = static_cast<int>(threadIdx.x) < num_rows;
  const float* const lse = args.lse + (row_begin + threadIdx.x) * args.num_heads;
  Fragments sums = {};
  int slot_positions[2] = {0, 0};
  if constexpr (kAlibi) {  // Behind the first barrier of the heads.
    if (threadIdx.x < kTileRows) {
      positions[threadIdx.x] = norm_thread ? args.rows.position[row_begin + threadIdx.x] : 0;
    }
    PREFIXD_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int slot = first_slot + warp_slot + lane / 4 + 8 * i;
      if (slot < most) slot_positions[i] = SlotPosition(args.pages, table, slot);
    }
  }
  if (first_slot < most) {
    load(0);
    float norm = norm_thread ? lse[0] : 0.0f;
    for (int head = 0; head < args.num_heads; ++head) {
      if (threadIdx.x < kTileRows) norms[head % 2 * kTileRows + threadIdx.x] = norm;
      dev::CpAsyncWait<0>();
      if (!PREFIXD_KERNEL_BUG(kColumnSumsNoBarrier)) __syncthreads();
      if (head + 1 < args.num_heads) {
        load(head + 1);
        if (norm_thread) norm = lse[head + 1];
      }
      if (first_slot + warp_slot >= most) continue;
      Fragments scores;
      ScoreSlots<T, kWidth>(keys(head / group), queries(head), scores);
      const float slope = kAlibi ? SlopeLog2(args.slopes, head) : 0.0f;
      PREFIXD_UNROLL
      for (int n = 0; n < kTileRows / 8; ++n) {
        PREFIXD_UNROLL
        for (int j = 0; j < 4; ++j) {
          const int row = n * 8 + lane % 4 * 2 + j % 2;
          float score = ScaledScore(scores[n][j], args.scale_log2);
          if constexpr (kAlibi) {
            score = WithDistance(score, slope, slot_positions[j / 2] - positions[row]);
          }
          sums[n][j] += Probability(score, norms[head % 2 * kTileRows + row]);
        }
      }
    }
  }

  const float inverse = 1.0f / static_cast<float>(args.num_heads);
  float* const scratch = args.scratch + segment.scratch_offset;
  PREFIXD_UNROLL
  for (int n = 0; n < kTileRows / 8; ++n) {
    PREFIXD_UNROLL
    for (int j = 0; j < 4; ++j) {
      const int row = n * 8 + lane % 4 * 2 + j % 2;
      const int slot = first_slot + warp_slot + lane / 4 + j / 2 * 8;
      if (row >= num_rows || slot >= segment.num_slots) continue;
      scratch[static_cast<int64_t>(first_row + row) * segment.num_slots + slot] =
          slot < visible[row] ? sums[n][j] * inverse : 0.0f;
    }
  }
}

template <typename T, int kWidth, bool kAlibi>
cudaError_t LaunchKernel(const ColumnSumArguments& args, dim3 grid, cudaStream_t stream) {
  constexpr int kBytes = TileMemory<T, kWidth>::kBlockBytes + (kAlibi ? 3 : 2) * kTileRows * 4;
  const cudaError_t allowed =
      dev::AllowSharedMemory(TileProbabilitiesKernel<T, kWidth, kAlibi>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  PREFIXD_LAUNCH((TileProbabilitiesKernel<T, kWidth, kAlibi>), grid, dim3(kTileThreads), kBytes,
                 stream, args);
  return cudaGetLastError();
}

template <typename T, int kWidth>
cudaError_t LaunchWidth(const ColumnSumArguments& args, dim3 grid, cudaStream_t stream) {
  return args.slopes != nullptr ? LaunchKernel<T, kWidth, true>(args, grid, stream)
                                : LaunchKernel<T, kWidth, false>(args, grid, stream);
}

template <typename T>
cudaError_t Launch(const ColumnSumArguments& args, dim3 grid, cudaStream_t stream) {
  if (args.pages.head_dim == 64) return LaunchWidth<T, 64>(args, grid, stream);
  if (args.pages.head_dim == 128) return LaunchWidth<T, 128>(args, grid, stream);
  return LaunchWidth<T, 80>(args, grid, stream);
}

}  // namespace

cudaError_t LaunchTileProbabilities(const ColumnSumArguments& args, Element type, int32_t max_rows,
                                    int32_t max_slots, cudaStream_t stream) {
  const auto tiles = [](int32_t rows) {
    return static_cast<unsigned>((int64_t{rows} + kTileRows - 1) / kTileRows);
  };
  const dim3 grid(tiles(max_slots), tiles(max_rows), static_cast<unsigned>(args.num_segments));
  if (grid.y > 65535) return cudaErrorInvalidValue;
  return type == Element::kF16 ? Launch<dev::f16>(args, grid, stream)
                               : Launch<dev::bf16>(args, grid, stream);
}

}  // namespace prefixd::cuda
