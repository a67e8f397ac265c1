#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/vision_tile.h"

namespace prefixd::cuda {

cudaError_t LaunchTileVisionF16(const VisionArguments& args, cudaStream_t stream) {
  return LaunchTileVision<dev::f16>(args, stream);
}

}  // namespace prefixd::cuda
