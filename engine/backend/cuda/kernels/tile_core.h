// The core of attention on tensor cores, for the kernels of this folder only: the softmax over all
// keys of 64 rows of one head, by one block of four warps, 16 rows each. Keys and values pass
// through two stages of shared memory in tiles of 64 keys, counted from key 0. Algorithm:
// FlashAttention-2 (arXiv:2307.08691).
//
// Fragments of mma.m16n8k16: lane l holds rows l / 4 and l / 4 + 8, columns 2 * (l % 4) + {0, 1}.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_CORE_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_CORE_H_

#include <cmath>
#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/alibi.h"
#include "engine/backend/cuda/kernels/tile_attention.h"
#include "engine/backend/cuda/kernels/tile_memory.h"

namespace prefixd::cuda {

// What one block computes. Pointers are those of its first row and its head.
template <typename T>
struct TileProblem {
  const T* q = nullptr;
  int64_t q_stride = 0;
  T* y = nullptr;
  int64_t y_stride = 0;
  float* lse = nullptr;  // Or null.
  int64_t lse_stride = 0;
  int num_rows = 0;          // 1..kTileRows
  int num_chunks = 0;        // head_dim / 8
  int num_keys = 0;          // The most that a row sees; later keys are not read.
  int64_t value_offset = 0;  // From a row of K to the same row of V.
  float scale_log2 = 0;      // scale * log2(e)
};

// What AttendTile adds to scores: nothing.
struct NoDistances {
  static constexpr bool kAny = false;
};

// ALiBi of one head.
struct TileDistances {
  static constexpr bool kAny = true;
  KvPages pages;
  const int32_t* table = nullptr;          // Of the rows' sequence.
  const int32_t* row_positions = nullptr;  // Of the tile's rows.
  float slope_log2 = 0;
};

// A lane's part of the softmax state of its warp's 16 rows; of its two rows each: the maximum
// (log2) and the lane's share of the sum.
template <typename T, int kWidth>
struct TileState {
  uint32_t q[kWidth / 16][4];
  float out[kWidth / 8][4];
  float max[2];
  float sum[2];
};

// scores[n] = q * keys[8 n .. 8 n + 7]^T.
template <typename T, int kWidth>
__device__ __forceinline__ void ScoreTile(const TileState<T, kWidth>& state, const T* keys,
                                          float (&scores)[kTileRows / 8][4]) {
  const int lane = threadIdx.x % 32;
  const int row = lane % 8 + lane / 16 * 8, chunk = lane / 8 % 2;
  PREFIXD_UNROLL
  for (int n = 0; n < kTileRows / 8; n += 2) {
    PREFIXD_UNROLL
    for (int j = 0; j < 4; ++j) scores[n][j] = scores[n + 1][j] = 0;
    PREFIXD_UNROLL
    for (int k = 0; k < kWidth / 16; ++k) {
      uint32_t b[4];
      dev::LdMatrix4<false>(b, TileMemory<T, kWidth>::At(keys, n * 8 + row, k * 2 + chunk));
      dev::Mma16816<T>(scores[n], state.q[k], {b[0], b[1]});
      dev::Mma16816<T>(scores[n + 1], state.q[k], {b[2], b[3]});
    }
  }
}

// Turns scores into probabilities against the new maximum and brings the state to it. A tile of
// which the row sees nothing changes nothing.
template <typename T, int kWidth, typename Distances>
__device__ __forceinline__ void SoftmaxTile(float (&scores)[kTileRows / 8][4], int first_key,
                                            const int (&visible)[2], float scale_log2,
                                            const Distances& distances, const int (&position)[2],
                                            TileState<T, kWidth>& state) {
  const int column = threadIdx.x % 4 * 2;
  PREFIXD_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int seen = visible[r] - first_key + (PREFIXD_KERNEL_BUG(kTileMaskOffByOne) ? 1 : 0);
    float top = state.max[r];
    PREFIXD_UNROLL
    for (int n = 0; n < kTileRows / 8; ++n) {
      PREFIXD_UNROLL
      for (int j = 0; j < 2; ++j) {
        float& score = scores[n][2 * r + j];
        score = ScaledScore(score, scale_log2);
        if constexpr (Distances::kAny) {
          if (n * 8 + column + j < seen) {
            const int key_position =
                SlotPosition(distances.pages, distances.table, first_key + n * 8 + column + j);
            score = WithDistance(score, distances.slope_log2, key_position - position[r]);
          }
        }
        score = n * 8 + column + j < seen ? score : -INFINITY;
        top = fmaxf(top, score);
      }
    }
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
    top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
    const float base = top == -INFINITY ? 0.0f : top;
    const float rescale = dev::Exp2(state.max[r] - base);
    state.max[r] = top;
    state.sum[r] *= rescale;
    PREFIXD_UNROLL
    for (int d = 0; d < kWidth / 8; ++d) {
      state.out[d][2 * r] *= rescale;
      state.out[d][2 * r + 1] *= rescale;
    }
    PREFIXD_UNROLL
    for (int n = 0; n < kTileRows / 8; ++n) {
      PREFIXD_UNROLL
      for (int j = 0; j < 2; ++j) {
        float& score = scores[n][2 * r + j];
        score = dev::Exp2(score - base);
        state.sum[r] += score;
      }
    }
  }
}

// state.out += probabilities * values.
template <typename T, int kWidth>
__device__ __forceinline__ void AddValues(const float (&p)[kTileRows / 8][4], const T* values,
                                          TileState<T, kWidth>& state) {
  const int lane = threadIdx.x % 32;
  PREFIXD_UNROLL
  for (int k = 0; k < kTileRows / 16; ++k) {
    const uint32_t a[4] = {dev::Pack2<T>(p[2 * k][0], p[2 * k][1]),
                           dev::Pack2<T>(p[2 * k][2], p[2 * k][3]),
                           dev::Pack2<T>(p[2 * k + 1][0], p[2 * k + 1][1]),
                           dev::Pack2<T>(p[2 * k + 1][2], p[2 * k + 1][3])};
    PREFIXD_UNROLL
    for (int d = 0; d < kWidth / 8; d += 2) {
      uint32_t b[4];
      dev::LdMatrix4<true>(b, TileMemory<T, kWidth>::At(values, k * 16 + lane % 16, d + lane / 16));
      dev::Mma16816<T>(state.out[d], a, {b[0], b[1]});
      dev::Mma16816<T>(state.out[d + 1], a, {b[2], b[3]});
    }
  }
}

// Divides by the sums and writes the warp's rows of y and lse; `staging` is a tile of shared memory
// that no other warp reads rows first_row .. first_row + 15 of.
template <typename T, int kWidth>
__device__ __forceinline__ void WriteRows(const TileProblem<T>& problem, int first_row,
                                          const int (&visible)[2], T* staging,
                                          TileState<T, kWidth>& state) {
  using Memory = TileMemory<T, kWidth>;
  const int lane = threadIdx.x % 32;
  PREFIXD_UNROLL
  for (int r = 0; r < 2; ++r) {
    float sum = state.sum[r];
    sum += __shfl_xor_sync(0xffffffffu, sum, 1);
    sum += __shfl_xor_sync(0xffffffffu, sum, 2);
    const float inverse = visible[r] > 0 ? 1.0f / sum : 0.0f;
    const int row = first_row + lane / 4 + 8 * r;
    PREFIXD_UNROLL
    for (int d = 0; d < kWidth / 8; ++d) {
      *reinterpret_cast<uint32_t*>(Memory::At(staging, row, d) + lane % 4 * 2) =
          dev::Pack2<T>(state.out[d][2 * r] * inverse, state.out[d][2 * r + 1] * inverse);
    }
    if (problem.lse != nullptr && lane % 4 == 0 && row < problem.num_rows) {
      problem.lse[row * problem.lse_stride] =
          visible[r] > 0 ? state.max[r] + log2f(sum) : -INFINITY;
    }
  }
  __syncwarp();
  for (int i = lane; i < 16 * Memory::kChunks; i += 32) {
    const int row = first_row + i / Memory::kChunks, chunk = i % Memory::kChunks;
    if (row >= problem.num_rows || chunk >= problem.num_chunks) continue;
    dev::Store16(problem.y + row * problem.y_stride + 8 * chunk,
                 dev::Load16(Memory::At(staging, row, chunk)));
  }
}

// The whole of a block: kTileThreads threads, TileMemory<T, kWidth>::kBlockBytes of shared memory.
// key_at(k): row k < num_keys of K, aligned to 16 bytes, as rows of V are; visible_at(r): how many
// keys row r of the tile sees; distances: NoDistances or TileDistances.
template <typename T, int kWidth, typename KeyAt, typename VisibleAt, typename Distances>
__device__ __forceinline__ void AttendTile(const TileProblem<T>& problem, unsigned char* shared,
                                           const KeyAt& key_at, const VisibleAt& visible_at,
                                           const Distances& distances) {
  using Memory = TileMemory<T, kWidth>;
  T* const stages = reinterpret_cast<T*>(shared);  // Of each stage: a tile of K, a tile of V.
  const auto stage = [&](int tile) { return stages + tile % 2 * 2 * Memory::kElements; };
  const int num_tiles = (problem.num_keys + kTileRows - 1) / kTileRows;
  const auto load = [&](int tile) {
    const int first = tile * kTileRows;
    Memory::LoadPair(stage(tile), stage(tile) + Memory::kElements, problem.num_keys - first,
                     problem.num_chunks, problem.value_offset,
                     [&](int row) { return key_at(first + row); });
    dev::CpAsyncCommit();
  };

  const int lane = threadIdx.x % 32, first_row = threadIdx.x / 32 * 16;
  const bool active = first_row < problem.num_rows;
  int visible[2], position[2] = {0, 0};
  PREFIXD_UNROLL
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + lane / 4 + 8 * r;
    visible[r] = row < problem.num_rows ? visible_at(row) : 0;
    if constexpr (Distances::kAny) {
      if (row < problem.num_rows) position[r] = distances.row_positions[row];
    }
  }

  Memory::Load(stage(1), problem.num_rows, problem.num_chunks,
               [&](int row) { return problem.q + row * problem.q_stride; });
  dev::CpAsyncCommit();
  if (num_tiles > 0) load(0);
  TileState<T, kWidth> state = {};
  state.max[0] = state.max[1] = -INFINITY;
  if (num_tiles > 0) {
    dev::CpAsyncWait<1>();
  } else {
    dev::CpAsyncWait<0>();
  }
  __syncthreads();
  PREFIXD_UNROLL
  for (int k = 0; k < kWidth / 16; ++k) {
    dev::LdMatrix4<false>(state.q[k],
                          Memory::At(stage(1), first_row + lane % 16, k * 2 + lane / 16));
  }

  for (int tile = 0; tile < num_tiles; ++tile) {
    // Behind the barrier this tile is there for all warps, and none reads the other stage any more.
    if (PREFIXD_KERNEL_BUG(kTileEarlyPrefetch) && tile + 1 < num_tiles) {
      load(tile + 1);
      dev::CpAsyncWait<1>();
    } else if (!PREFIXD_KERNEL_BUG(kTileNoWait)) {
      dev::CpAsyncWait<0>();
    }
    if (!PREFIXD_KERNEL_BUG(kTileNoBarrier)) __syncthreads();
    if (!PREFIXD_KERNEL_BUG(kTileEarlyPrefetch) && tile + 1 < num_tiles) load(tile + 1);
    if (!active) continue;
    float scores[kTileRows / 8][4];
    ScoreTile(state, stage(tile), scores);
    SoftmaxTile(scores, tile * kTileRows, visible, problem.scale_log2, distances, position, state);
    AddValues(scores, stage(tile) + Memory::kElements, state);
  }
  if (active) WriteRows(problem, first_row, visible, stage(num_tiles), state);
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_CORE_H_
