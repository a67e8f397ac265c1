#include "engine/backend/cuda/kernels/split_attention_matrix.cuh"

namespace prefixd::cuda {

cudaError_t LaunchSplitMatrixAlibiF16(const SplitCall& call, cudaStream_t stream) {
  return LaunchMatrixTyped<dev::f16, true, false>(call, stream);
}

}  // namespace prefixd::cuda
