// ApplyDeltas: one word a thread.
#include "engine/backend/cuda/kernels/kv_ops.h"
#include "engine/backend/cuda/kernels/launch.h"

namespace prefixd::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    ApplyDeltasKernel(const int32_t* indices, const int32_t* values, int64_t count,
                      int32_t* target) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= count) return;
  const int32_t index = indices[PREFIXD_KERNEL_BUG(kStaleDelta) && i > 0 ? i - 1 : i];
  if (index >= 0) target[index] = values[i];
}

}  // namespace

cudaError_t LaunchApplyDeltas(const int32_t* indices, const int32_t* values, int64_t count,
                              int32_t* target, cudaStream_t stream) {
  if (count < 0 || count > kMaxRows) return cudaErrorInvalidValue;
  if (count == 0) return cudaSuccess;
  if (indices == nullptr || values == nullptr || target == nullptr) return cudaErrorInvalidValue;
  PREFIXD_LAUNCH(ApplyDeltasKernel, dim3(static_cast<unsigned>(CeilDiv(count, kThreads))),
                 dim3(kThreads), 0, stream, indices, values, count, target);
  return cudaGetLastError();
}

}  // namespace prefixd::cuda
