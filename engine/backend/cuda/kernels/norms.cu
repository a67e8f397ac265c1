// RmsNorm and LayerNorm: one block a row. A thread reads its packets again rather than keeping
// them: they are in the first-level cache.
#include "engine/backend/cuda/kernels/block_sum.h"
#include "engine/backend/cuda/kernels/launch.h"
#include "engine/backend/cuda/kernels/packet.h"
#include "engine/backend/cuda/kernels/row_ops.h"

namespace prefixd::cuda {
namespace {

constexpr int kMaxThreads = 512;

template <bool kAligned, typename T>
__global__ void __launch_bounds__(kMaxThreads, 2)
    RmsNormKernel(const T* x, int64_t x_stride, const T* weight, float weight_offset, float eps,
                  T* y, int64_t y_stride, int cols) {
  PREFIXD_DYN_SMEM(shared);
  x += blockIdx.x * x_stride;
  y += blockIdx.x * y_stride;
  const int first = static_cast<int>(threadIdx.x) * kPacket;
  const int step = static_cast<int>(blockDim.x) * kPacket;
  float squares = 0;
  for (int c = first; c < cols; c += step) {
    float v[kPacket];
    LoadPacket<kAligned>(x + c, PacketColumns(cols, c), v);
    PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) squares += v[i] * v[i];
  }
  squares = BlockSum(squares, reinterpret_cast<float*>(shared));
  const float factor = 1.0f / sqrtf(squares / static_cast<float>(cols) + eps);
  for (int c = first; c < cols; c += step) {
    const int count = PacketColumns(cols, c);
    float v[kPacket], w[kPacket];
    LoadPacket<kAligned>(x + c, count, v);
    LoadPacket<kAligned>(weight + c, count, w);
    PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) v[i] = v[i] * factor * (weight_offset + w[i]);
    StorePacket<kAligned>(y + c, count, v);
  }
}

template <bool kAligned, typename T>
__global__ void __launch_bounds__(kMaxThreads, 2)
    LayerNormKernel(const T* x, int64_t x_stride, const T* weight, const T* bias, float eps, T* y,
                    int64_t y_stride, int cols) {
  PREFIXD_DYN_SMEM(shared);
  float* const partial = reinterpret_cast<float*>(shared);
  x += blockIdx.x * x_stride;
  y += blockIdx.x * y_stride;
  const int first = static_cast<int>(threadIdx.x) * kPacket;
  const int step = static_cast<int>(blockDim.x) * kPacket;
  float sum = 0;
  for (int c = first; c < cols; c += step) {
    float v[kPacket];
    LoadPacket<kAligned>(x + c, PacketColumns(cols, c), v);
    PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) sum += v[i];
  }
  const float mean = BlockSum(sum, partial) / static_cast<float>(cols);
  float squares = 0;
  for (int c = first; c < cols; c += step) {
    const int count = PacketColumns(cols, c);
    float v[kPacket];
    LoadPacket<kAligned>(x + c, count, v);
    PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) {
      if (i < count) squares += (v[i] - mean) * (v[i] - mean);
    }
  }
  squares = BlockSum(squares, partial + kMaxWarps);
  const float factor = 1.0f / sqrtf(squares / static_cast<float>(cols) + eps);
  for (int c = first; c < cols; c += step) {
    const int count = PacketColumns(cols, c);
    float v[kPacket], w[kPacket], b[kPacket];
    LoadPacket<kAligned>(x + c, count, v);
    LoadPacket<kAligned>(weight + c, count, w);
    LoadPacket<kAligned>(bias + c, count, b);
    PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) v[i] = (v[i] - mean) * factor * w[i] + b[i];
    StorePacket<kAligned>(y + c, count, v);
  }
}

bool AreValid(const DeviceMatrix& x, const DeviceMatrix& weight, const DeviceMatrix& y) {
  return IsValid(x) && IsValid(y) && x.type == y.type && SameShape(x, y) && IsRowOf(weight, x);
}

unsigned NormBlock(int64_t cols) { return BlockSize(CeilDiv(cols, kPacket), kMaxThreads); }

}  // namespace

cudaError_t LaunchRmsNorm(const DeviceMatrix& x, const DeviceMatrix& weight, float weight_offset,
                          float eps, const DeviceMatrix& y, cudaStream_t stream) {
  if (!AreValid(x, weight, y)) return cudaErrorInvalidValue;
  if (x.rows == 0 || x.cols == 0) return cudaSuccess;
  return ForElement(x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return ForBool(IsAligned(x) && IsAligned(weight) && IsAligned(y), [&](auto aligned) {
      PREFIXD_LAUNCH((RmsNormKernel<decltype(aligned)::value, T>),
                     dim3(static_cast<unsigned>(x.rows)), dim3(NormBlock(x.cols)),
                     kMaxWarps * sizeof(float), stream, static_cast<const T*>(x.data), x.stride,
                     static_cast<const T*>(weight.data), weight_offset, eps,
                     static_cast<T*>(y.data), y.stride, static_cast<int>(x.cols));
      return cudaGetLastError();
    });
  });
}

cudaError_t LaunchLayerNorm(const DeviceMatrix& x, const DeviceMatrix& weight,
                            const DeviceMatrix& bias, float eps, const DeviceMatrix& y,
                            cudaStream_t stream) {
  if (!AreValid(x, weight, y) || !IsRowOf(bias, x)) return cudaErrorInvalidValue;
  if (x.rows == 0 || x.cols == 0) return cudaSuccess;
  const bool all_aligned = IsAligned(x) && IsAligned(weight) && IsAligned(bias) && IsAligned(y);
  return ForElement(x.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return ForBool(all_aligned, [&](auto aligned) {
      PREFIXD_LAUNCH((LayerNormKernel<decltype(aligned)::value, T>),
                     dim3(static_cast<unsigned>(x.rows)), dim3(NormBlock(x.cols)),
                     2 * kMaxWarps * sizeof(float), stream, static_cast<const T*>(x.data), x.stride,
                     static_cast<const T*>(weight.data), static_cast<const T*>(bias.data), eps,
                     static_cast<T*>(y.data), y.stride, static_cast<int>(x.cols));
      return cudaGetLastError();
    });
  });
}

}  // namespace prefixd::cuda
