#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/vision_tile.h"

namespace prefixd::cuda {

cudaError_t LaunchTileVisionBf16(const VisionArguments& args, cudaStream_t stream) {
  return LaunchTileVision<dev::bf16>(args, stream);
}

}  // namespace prefixd::cuda
