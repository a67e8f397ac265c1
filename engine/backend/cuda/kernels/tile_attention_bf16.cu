#include "engine/backend/cuda/kernels/paged_tile.h"

namespace prefixd::cuda {

cudaError_t LaunchTilesBF16(const TileArguments& args, cudaStream_t stream) {
  return LaunchTiles<dev::bf16>(args, stream);
}

}  // namespace prefixd::cuda
