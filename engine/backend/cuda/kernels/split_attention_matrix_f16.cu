#include "engine/backend/cuda/kernels/split_attention_matrix.cuh"

namespace prefixd::cuda {

cudaError_t LaunchSplitMatrixF16(const SplitCall& call, cudaStream_t stream) {
  return LaunchMatrixTyped<dev::f16, false, false>(call, stream);
}

}  // namespace prefixd::cuda
