#include "engine/backend/cuda/kernels/paged_tile.h"

namespace prefixd::cuda {

cudaError_t LaunchTilesF16(const TileArguments& args, cudaStream_t stream) {
  return LaunchTiles<dev::f16>(args, stream);
}

}  // namespace prefixd::cuda
