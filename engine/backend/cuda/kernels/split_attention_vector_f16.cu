#include "engine/backend/cuda/kernels/split_attention_vector.cuh"

namespace prefixd::cuda {

cudaError_t LaunchSplitVectorF16(const SplitCall& call, cudaStream_t stream) {
  return LaunchVectorTyped<dev::f16>(call, stream);
}

}  // namespace prefixd::cuda
