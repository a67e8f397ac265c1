// Tiles of 64 rows in shared memory, for the kernels of this folder only.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_MEMORY_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_MEMORY_H_

#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/tile_attention.h"

namespace prefixd::cuda {

inline constexpr int kTileThreads = 128;
inline constexpr float kLog2E = 1.4426950408889634f;

// Elements of a head whose tiles are kWidth wide: fewer, where a width serves several.
template <int kWidth>
__device__ __forceinline__ int TileHeadDim(const KvPages& pages) {
  return kWidth == 64 || kWidth == 128 ? kWidth : pages.head_dim;
}

// Whether all rows of a matrix may be read 16 bytes at a time.
inline bool Aligned16(const void* data, int64_t stride, Element type) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride * ElementSize(type) % 16 == 0;
}

// T: dev::f16 or dev::bf16; kWidth: columns, a multiple of 16. Rows lie in chunks of 16 bytes such
// that eight consecutive rows have the same chunk in different banks, which ldmatrix reads: chunks
// change places within a row where the row is a multiple of all banks, else rows are an odd number
// of chunks apart.
template <typename T, int kWidth>
struct TileMemory {
  static_assert(sizeof(T) == 2 && kWidth % 16 == 0);
  static constexpr int kChunks = kWidth / 8;
  static constexpr bool kSwizzled = kChunks % 8 == 0;
  static constexpr int kStride = 8 * (kSwizzled ? kChunks : kChunks | 1);
  static constexpr int kElements = kTileRows * kStride;
  static constexpr int kBytes = kElements * static_cast<int>(sizeof(T));
  static constexpr int kBlockBytes = 4 * kBytes;  // Two stages of two tiles.

  template <typename Pointer>
  static __device__ __forceinline__ Pointer At(Pointer tile, int row, int chunk) {
    return tile + row * kStride + 8 * (kSwizzled ? chunk ^ (row % 8) : chunk);
  }

  // Starts to copy chunks [0, num_chunks) of rows [0, num_rows), row_at(r) each, aligned to 16
  // bytes; the others become zero. By all threads of the block; ends with a wait and a barrier of
  // the caller.
  template <typename RowAt>
  static __device__ __forceinline__ void Load(T* tile, int num_rows, int num_chunks,
                                              const RowAt& row_at) {
    ForEachChunk(num_rows, num_chunks, [&](int row, int chunk, bool inside) {
      dev::CpAsync16(At(tile, row, chunk), inside ? row_at(row) + 8 * chunk : row_at(0), inside);
    });
  }

  // Both tiles: row r of the second is `offset` elements behind row_at(r).
  template <typename RowAt>
  static __device__ __forceinline__ void LoadPair(T* tile, T* second, int num_rows, int num_chunks,
                                                  int64_t offset, const RowAt& row_at) {
    ForEachChunk(num_rows, num_chunks, [&](int row, int chunk, bool inside) {
      const T* const source = inside ? row_at(row) + 8 * chunk : row_at(0);
      dev::CpAsync16(At(tile, row, chunk), source, inside);
      dev::CpAsync16(At(second, row, chunk), source + offset, inside);
    });
  }

 private:
  template <typename Visit>
  static __device__ __forceinline__ void ForEachChunk(int num_rows, int num_chunks,
                                                      const Visit& visit) {
    if (PREFIXD_KERNEL_BUG(kTilePaddingUnmasked)) num_chunks = kChunks;
    // Not unrolled to the end: addresses would take more registers than the softmax states leave.
    for (int place = threadIdx.x; place < kTileRows * kChunks; place += kTileThreads) {
      const int row = place / kChunks, chunk = place % kChunks;
      visit(row, chunk, row < num_rows && chunk < num_chunks);
    }
  }
};

// The largest of visible[0 .. num_rows - 1]; num_rows <= kTileRows. By whole warps.
__device__ __forceinline__ int MostVisible(const int32_t* visible, int num_rows) {
  int most = 0;
  for (int row = threadIdx.x % 32; row < num_rows; row += 32) most = max(most, visible[row]);
  PREFIXD_UNROLL
  for (int step = 16; step > 0; step /= 2) {
    most = max(most, __shfl_xor_sync(0xffffffffu, most, step));
  }
  return most;
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_TILE_MEMORY_H_
