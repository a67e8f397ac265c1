#include "engine/backend/cuda/kernels/split_attention_matrix.cuh"

namespace prefixd::cuda {

cudaError_t LaunchSplitMatrixTreeBF16(const SplitCall& call, cudaStream_t stream) {
  return call.slopes != nullptr ? LaunchMatrixTyped<dev::bf16, true, true>(call, stream)
                                : LaunchMatrixTyped<dev::bf16, false, true>(call, stream);
}

}  // namespace prefixd::cuda
