// EmbedRows and CopyRows: bits move as they are, in units of 16 bytes or of an element.
#include "engine/backend/cuda/kernels/launch.h"
#include "engine/backend/cuda/kernels/row_ops.h"

namespace prefixd::cuda {
namespace {

// Strides and columns in units.
template <typename Unit>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    EmbedKernel(const Unit* table, int64_t table_stride, const int32_t* ids, const int32_t* drawn,
                Unit* y, int64_t y_stride, int cols) {
  const int c = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  if (c >= cols) return;
  int32_t id = ids[blockIdx.x];
  if (id < 0) id = drawn[-1 - id];
  if (id < 0) id = 0;
  y[blockIdx.x * y_stride + c] = table[id * table_stride + c];
}

template <typename Unit>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    CopyRowsKernel(const Unit* x, int64_t x_stride, const int32_t* x_rows, const int32_t* y_rows,
                   Unit* y, int64_t y_stride, int cols) {
  const int c = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  if (c >= cols) return;
  y[y_rows[blockIdx.x] * y_stride + c] = x[x_rows[blockIdx.x] * x_stride + c];
}

// fn(TypeTag<unit>, elements in a unit).
template <typename Fn>
cudaError_t ForUnit(const DeviceMatrix& x, const DeviceMatrix& y, Fn fn) {
  const int64_t size = ElementSize(x.type);
  if (IsAligned(x) && IsAligned(y) && x.cols * size % 16 == 0)
    return fn(TypeTag<uint4>{}, 16 / size);
  if (size == 4) return fn(TypeTag<uint32_t>{}, int64_t{1});
  return fn(TypeTag<uint16_t>{}, int64_t{1});
}

bool AreValid(const DeviceMatrix& x, const DeviceMatrix& y) {
  return IsValid(x) && IsValid(y) && x.type == y.type && x.cols == y.cols;
}

}  // namespace

cudaError_t LaunchEmbedRows(const DeviceMatrix& table, const int32_t* ids, const int32_t* drawn,
                            const DeviceMatrix& y, cudaStream_t stream) {
  if (!AreValid(table, y)) return cudaErrorInvalidValue;
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  if (ids == nullptr || table.rows == 0) return cudaErrorInvalidValue;
  return ForUnit(table, y, [&](auto tag, int64_t width) {
    using Unit = typename decltype(tag)::type;
    const RowGrid shape(y.rows, y.cols / width);
    PREFIXD_LAUNCH((EmbedKernel<Unit>), shape.grid, shape.block, 0, stream,
                   static_cast<const Unit*>(table.data), table.stride / width, ids, drawn,
                   static_cast<Unit*>(y.data), y.stride / width, static_cast<int>(y.cols / width));
    return cudaGetLastError();
  });
}

cudaError_t LaunchCopyRows(const DeviceMatrix& x, const int32_t* x_rows, const int32_t* y_rows,
                           int64_t count, const DeviceMatrix& y, cudaStream_t stream) {
  if (!AreValid(x, y) || count < 0 || count > kMaxRows) return cudaErrorInvalidValue;
  if (count == 0 || y.cols == 0) return cudaSuccess;
  if (x_rows == nullptr || y_rows == nullptr || x.rows == 0 || y.rows == 0) {
    return cudaErrorInvalidValue;
  }
  return ForUnit(x, y, [&](auto tag, int64_t width) {
    using Unit = typename decltype(tag)::type;
    const RowGrid shape(count, y.cols / width);
    PREFIXD_LAUNCH((CopyRowsKernel<Unit>), shape.grid, shape.block, 0, stream,
                   static_cast<const Unit*>(x.data), x.stride / width, x_rows, y_rows,
                   static_cast<Unit*>(y.data), y.stride / width, static_cast<int>(y.cols / width));
    return cudaGetLastError();
  });
}

}  // namespace prefixd::cuda
