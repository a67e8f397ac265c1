// The tiles of SplitMatrix (split_attention_matrix.cuh): their place in shared memory, and a warp's
// online softmax over one of them with mma.m16n8k16 (FlashAttention-2, arXiv:2307.08691).
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_MATRIX_TILE_CUH_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_MATRIX_TILE_CUH_

#include "engine/backend/cuda/kernels/split_matrix_jobs.cuh"

namespace prefixd::cuda {

// Shared memory: 32, 64 and 96 KiB for head_dim 64, 128 and 256. One to three blocks of it and of
// the registers of SplitMatrix (150, 212 and 255) find room on a multiprocessor, each with a tile
// under way, which is more than the latency of memory wants.
template <int kHeadDim>
struct MatrixShape {
  static constexpr int kTileSlots = kHeadDim <= 128 ? 64 : 32;
  static constexpr int kChunks = kHeadDim / 8;            // 16-byte chunks of a slot.
  static constexpr bool kSharedQueries = kHeadDim > 128;  // Else in registers.
  static constexpr int kTile = kTileSlots * kHeadDim;
  // The offsets: of pages, of a tree of slots.
  template <bool kTree>
  struct Shared {
    alignas(16) uint16_t queries[kSharedQueries ? kMatrixRows * kHeadDim : 8];
    alignas(16) uint16_t keys[2][kTile];
    alignas(16) uint16_t values[2][kTile];
    int32_t positions[kSplitSlots];  // With kAlibi.
    int64_t offsets[kTree ? kSplitSlots : kSplitPages];
  };
  // Eight rows of one column of chunks lie in eight different banks of 16 bytes.
  __device__ static int At(int slot, int chunk) {
    return slot * kHeadDim + (chunk ^ (slot & 7)) * 8;
  }
};

// A warp's 16 pairs: fragments of q, and the softmax state. A lane holds rows lane / 4 and
// lane / 4 + 8, of the scores and values columns 8 i + lane % 4 * 2 + {0, 1}.
template <int kHeadDim>
struct MatrixState {
  uint32_t q[MatrixShape<kHeadDim>::kSharedQueries ? 1 : kHeadDim / 16][4];
  float values[kHeadDim / 8][4];
  float largest[2];
  float sum[2];  // Of this lane's columns.
};

// With kAlibi, of the lane's two rows: the slope of the head, and the position.
struct MatrixDistances {
  float slope[2];
  int position[2];
};

// The fragment of q for columns [16 k, 16 k + 16).
template <int kHeadDim>
__device__ __forceinline__ void QueryFragment(const uint16_t* queries, int k,
                                              const MatrixState<kHeadDim>& state,
                                              uint32_t (&fragment)[4]) {
  if constexpr (MatrixShape<kHeadDim>::kSharedQueries) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = static_cast<int>(threadIdx.x) / 32 * 16 + lane % 16;
    dev::LdMatrix4<false>(fragment,
                          queries + row * kHeadDim + ((k * 2 + lane / 16) ^ lane % 8) * 8);
  } else {
    PREFIXD_UNROLL for (int i = 0; i < 4; ++i) fragment[i] = state.q[k][i];
  }
}

// Adds one tile, of whose slots the first `count` are seen (at least one). positions: of its slots.
template <typename T, int kHeadDim, bool kAlibi>
__device__ __forceinline__ void AddTile(const uint16_t* queries, const uint16_t* keys,
                                        const uint16_t* values, int count, float scale_log2,
                                        const int32_t* positions, const MatrixDistances& distances,
                                        MatrixState<kHeadDim>& state) {
  using Shape = MatrixShape<kHeadDim>;
  constexpr int kTileSlots = Shape::kTileSlots;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // Of the rows that the lane points ldmatrix at: lane % 8 is each one's number in its 8.
  const uint16_t* key_rows = keys + lane % 8 * kHeadDim;
  const uint16_t* value_rows = values + lane % 16 * kHeadDim;
  float scores[kTileSlots / 8][4];
  PREFIXD_UNROLL for (int n = 0; n < kTileSlots / 8; ++n) {
    PREFIXD_UNROLL for (int j = 0; j < 4; ++j) scores[n][j] = 0;
  }
  PREFIXD_UNROLL for (int k = 0; k < kHeadDim / 16; k += 2) {
    uint32_t a0[4], a1[4];
    QueryFragment<kHeadDim>(queries, k, state, a0);
    QueryFragment<kHeadDim>(queries, k + 1, state, a1);
    PREFIXD_UNROLL for (int n = 0; n < kTileSlots / 8; ++n) {
      uint32_t b[4];  // Two steps' fragments of K.
      dev::LdMatrix4<false>(b, key_rows + ((k * 2 + lane / 8) ^ lane % 8) * 8 + n * 8 * kHeadDim);
      const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
      dev::Mma16816<T>(scores[n], a0, b0);
      dev::Mma16816<T>(scores[n], a1, b1);
    }
  }
  PREFIXD_UNROLL for (int r = 0; r < 2; ++r) {
    float largest = state.largest[r];
    PREFIXD_UNROLL for (int n = 0; n < kTileSlots / 8; ++n) {
      PREFIXD_UNROLL for (int j = 0; j < 2; ++j) {
        float& score = scores[n][r * 2 + j];
        const int column = n * 8 + lane % 4 * 2 + j;
        score = ScaledScore(score, scale_log2);
        if constexpr (kAlibi) {
          score =
              WithDistance(score, distances.slope[r], positions[column] - distances.position[r]);
        }
        score = column < count ? score : -INFINITY;
        largest = fmaxf(largest, score);
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, 2));
    const float rescale = dev::Exp2(state.largest[r] - largest);
    state.largest[r] = largest;
    state.sum[r] *= rescale;
    PREFIXD_UNROLL for (int i = 0; i < kHeadDim / 8; ++i) {
      state.values[i][r * 2] *= rescale;
      state.values[i][r * 2 + 1] *= rescale;
    }
    PREFIXD_UNROLL for (int n = 0; n < kTileSlots / 8; ++n) {
      PREFIXD_UNROLL for (int j = 0; j < 2; ++j) {
        float& score = scores[n][r * 2 + j];
        score = dev::Exp2(score - largest);
        state.sum[r] += score;
      }
    }
  }
  PREFIXD_UNROLL for (int k = 0; k < kTileSlots / 16; ++k) {
    const uint32_t p[4] = {dev::Pack2<T>(scores[2 * k][0], scores[2 * k][1]),
                           dev::Pack2<T>(scores[2 * k][2], scores[2 * k][3]),
                           dev::Pack2<T>(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                           dev::Pack2<T>(scores[2 * k + 1][2], scores[2 * k + 1][3])};
    PREFIXD_UNROLL for (int d = 0; d < kHeadDim / 8; d += 2) {
      uint32_t b[4];  // 16 slots of two 8-wide columns of V.
      dev::LdMatrix4<true>(b, value_rows + ((d + lane / 16) ^ lane % 8) * 8 + k * 16 * kHeadDim);
      const uint32_t b0[2] = {b[0], b[1]}, b1[2] = {b[2], b[3]};
      dev::Mma16816<T>(state.values[d], p, b0);
      dev::Mma16816<T>(state.values[d + 1], p, b1);
    }
  }
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_SPLIT_MATRIX_TILE_CUH_
