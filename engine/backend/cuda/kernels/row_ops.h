// Kernels that work row by row: see Backend for what each op computes. Sums in float32.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ROW_OPS_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ROW_OPS_H_

#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

// y[t, :] = table[id, :] with id = ids[t], or drawn[-1 - ids[t]] where that is negative; a drawn
// token below 0 reads row 0. table, y: the same type. drawn: null if no id is negative.
cudaError_t LaunchEmbedRows(const DeviceMatrix& table, const int32_t* ids, const int32_t* drawn,
                            const DeviceMatrix& y, cudaStream_t stream);

// y[y_rows[i], :] = x[x_rows[i], :], i < count. The same type.
cudaError_t LaunchCopyRows(const DeviceMatrix& x, const int32_t* x_rows, const int32_t* y_rows,
                           int64_t count, const DeviceMatrix& y, cudaStream_t stream);

// x, weight, bias, y: the same type. y may be x. RmsNorm multiplies by weight_offset + weight.
cudaError_t LaunchRmsNorm(const DeviceMatrix& x, const DeviceMatrix& weight, float weight_offset,
                          float eps, const DeviceMatrix& y, cudaStream_t stream);
cudaError_t LaunchLayerNorm(const DeviceMatrix& x, const DeviceMatrix& weight,
                            const DeviceMatrix& bias, float eps, const DeviceMatrix& y,
                            cudaStream_t stream);

// y (+)= activation(x + bias). x: y's type or kF32, and may be y; bias: [1, cols] or null.
cudaError_t LaunchBiasActivation(const DeviceMatrix& x, const DeviceMatrix* bias,
                                 KernelActivation activation, bool accumulate,
                                 const DeviceMatrix& y, cudaStream_t stream);

// y[t, i] = activation(x[t, i]) * x[t, y.cols + i].
cudaError_t LaunchGatedActivation(const DeviceMatrix& x, KernelActivation activation,
                                  const DeviceMatrix& y, cudaStream_t stream);

// y[t, :] += x[t, :]; a single row of x is added to every row.
cudaError_t LaunchAdd(const DeviceMatrix& x, const DeviceMatrix& y, cudaStream_t stream);

// y[t, :] = min(max(factor * y[t, :], -limit), limit). limit > 0, perhaps infinite.
cudaError_t LaunchScaleAndClamp(float factor, float limit, const DeviceMatrix& y,
                                cudaStream_t stream);

// y: kF32 [T, 2 n]: cos, then sin, of float32(positions[t]) * inverse_frequencies[i]. Full-range
// argument reduction: angles reach 10^6.
cudaError_t LaunchRotaryAngles(const int32_t* positions, const float* inverse_frequencies,
                               const DeviceMatrix& y, cudaStream_t stream);

// pixels: [3, side * side]; y: [grid * grid, 3 * patch * patch], the same type.
cudaError_t LaunchPatchify(const DeviceMatrix& pixels, int side, int patch, const DeviceMatrix& y,
                           cudaStream_t stream);

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ROW_OPS_H_
