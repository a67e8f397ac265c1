// Patchify: one element a thread; a patch is a few dozen bytes wide.
#include "engine/backend/cuda/kernels/launch.h"
#include "engine/backend/cuda/kernels/row_ops.h"

namespace prefixd::cuda {
namespace {

template <typename Unit>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    PatchifyKernel(const Unit* pixels, int64_t pixel_stride, int side, int patch, Unit* y,
                   int64_t y_stride) {
  const int i = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  if (i >= 3 * patch * patch) return;
  const int grid = side / patch, t = static_cast<int>(blockIdx.x);
  const int channel = i / (patch * patch);
  const int line = t / grid * patch + i / patch % patch;
  const int column = t % grid * patch + i % patch;
  y[t * y_stride + i] = pixels[channel * pixel_stride + line * side + column];
}

}  // namespace

cudaError_t LaunchPatchify(const DeviceMatrix& pixels, int side, int patch, const DeviceMatrix& y,
                           cudaStream_t stream) {
  if (!IsValid(pixels) || !IsValid(y) || pixels.type != y.type || side <= 0 || patch <= 0 ||
      patch > side || pixels.rows != 3 || pixels.cols != int64_t{side} * side) {
    return cudaErrorInvalidValue;
  }
  const int64_t grid = side / patch;
  if (y.rows != grid * grid || y.cols != 3 * int64_t{patch} * patch) return cudaErrorInvalidValue;
  const RowGrid shape(y.rows, y.cols);
  const auto launch = [&](auto tag) {
    using Unit = typename decltype(tag)::type;
    PREFIXD_LAUNCH((PatchifyKernel<Unit>), shape.grid, shape.block, 0, stream,
                   static_cast<const Unit*>(pixels.data), pixels.stride, side, patch,
                   static_cast<Unit*>(y.data), y.stride);
    return cudaGetLastError();
  };
  return y.type == Element::kF32 ? launch(TypeTag<uint32_t>{}) : launch(TypeTag<uint16_t>{});
}

}  // namespace prefixd::cuda
