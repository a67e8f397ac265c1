// RotaryAngles: one angle a thread. Its few bytes of stack are sincosf's exact reduction of large
// angles.
#include "engine/backend/cuda/kernels/launch.h"
#include "engine/backend/cuda/kernels/row_ops.h"

namespace prefixd::cuda {
namespace {

__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    RotaryAnglesKernel(const int32_t* positions, const float* inverse_frequencies, float* y,
                       int64_t y_stride, int half) {
  const int i = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  if (i >= half) return;
  const float angle = static_cast<float>(positions[blockIdx.x]) * inverse_frequencies[i];
  float sine, cosine;
  sincosf(angle, &sine, &cosine);
  y += blockIdx.x * y_stride;
  y[i] = cosine;
  y[half + i] = sine;
}

}  // namespace

cudaError_t LaunchRotaryAngles(const int32_t* positions, const float* inverse_frequencies,
                               const DeviceMatrix& y, cudaStream_t stream) {
  if (!IsValid(y) || y.type != Element::kF32 || y.cols % 2 != 0) return cudaErrorInvalidValue;
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  if (positions == nullptr || inverse_frequencies == nullptr) return cudaErrorInvalidValue;
  const RowGrid shape(y.rows, y.cols / 2);
  PREFIXD_LAUNCH(RotaryAnglesKernel, shape.grid, shape.block, 0, stream, positions,
                 inverse_frequencies, static_cast<float*>(y.data), y.stride,
                 static_cast<int>(y.cols / 2));
  return cudaGetLastError();
}

}  // namespace prefixd::cuda
