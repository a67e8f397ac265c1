// The tensor-core kernel of vision attention, for vision_attention*.cu only: one file a type keeps
// them short to compile.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_VISION_TILE_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_VISION_TILE_H_

#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/tile_core.h"
#include "engine/backend/cuda/kernels/tile_memory.h"

namespace prefixd::cuda {

// Dense attention without a mask. An image's rows see each other: q and keys are columns of one
// matrix then.
struct VisionArguments {
  const void* q = nullptr;
  int64_t q_stride = 0;
  const void* keys = nullptr;  // K of the first key and head.
  int64_t key_stride = 0;
  int64_t value_offset = 0;  // From K to V, in elements.
  void* y = nullptr;
  int64_t y_stride = 0;
  int num_rows = 0;
  int num_keys = 0;
  int num_heads = 0;
  int head_dim = 0;
  float scale_log2 = 0;
};

// Any head_dim. Plain loops in float32.
cudaError_t LaunchPlainVision(const VisionArguments& args, Element type, cudaStream_t stream);

// head_dim <= 128 and a multiple of 8, rows aligned to 16 bytes.
cudaError_t LaunchTileVisionF16(const VisionArguments& args, cudaStream_t stream);
cudaError_t LaunchTileVisionBf16(const VisionArguments& args, cudaStream_t stream);

// Grid: tile * num_heads + head.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kTileThreads) VisionTileKernel(VisionArguments args) {
  PREFIXD_DYN_SMEM(shared);
  const int head = blockIdx.x % args.num_heads;
  const int first_row = blockIdx.x / args.num_heads * kTileRows;
  const int64_t column = static_cast<int64_t>(head) * args.head_dim;
  const T* const keys = static_cast<const T*>(args.keys) + column;

  TileProblem<T> problem;
  problem.q = static_cast<const T*>(args.q) + first_row * args.q_stride + column;
  problem.q_stride = args.q_stride;
  problem.y = static_cast<T*>(args.y) + first_row * args.y_stride + column;
  problem.y_stride = args.y_stride;
  problem.num_rows = min(kTileRows, args.num_rows - first_row);
  problem.num_chunks = args.head_dim / 8;
  problem.num_keys = args.num_keys;
  problem.value_offset = args.value_offset;
  problem.scale_log2 = args.scale_log2;
  AttendTile<T, kWidth>(
      problem, shared, [&](int key) { return keys + key * args.key_stride; },
      [&](int) { return args.num_keys; }, NoDistances());
}

template <typename T, int kWidth>
cudaError_t LaunchVisionTiles(const VisionArguments& args, cudaStream_t stream) {
  constexpr int kBytes = TileMemory<T, kWidth>::kBlockBytes;
  const cudaError_t allowed = dev::AllowSharedMemory(VisionTileKernel<T, kWidth>, kBytes);
  if (allowed != cudaSuccess) return allowed;
  const int64_t num_tiles = (int64_t{args.num_rows} + kTileRows - 1) / kTileRows;
  const int64_t num_blocks = num_tiles * args.num_heads;
  if (num_blocks > INT32_MAX) return cudaErrorInvalidValue;
  PREFIXD_LAUNCH((VisionTileKernel<T, kWidth>), dim3(static_cast<unsigned>(num_blocks)),
                 dim3(kTileThreads), kBytes, stream, args);
  return cudaGetLastError();
}

// The narrowest instance that holds head_dim.
template <typename T>
cudaError_t LaunchTileVision(const VisionArguments& args, cudaStream_t stream) {
  if (args.head_dim <= 32) return LaunchVisionTiles<T, 32>(args, stream);
  if (args.head_dim <= 64) return LaunchVisionTiles<T, 64>(args, stream);
  if (args.head_dim <= 80) return LaunchVisionTiles<T, 80>(args, stream);
  if (args.head_dim <= 96) return LaunchVisionTiles<T, 96>(args, stream);
  return LaunchVisionTiles<T, 128>(args, stream);
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_VISION_TILE_H_
