// BiasActivation, GatedActivation, Add, ScaleAndClamp: one packet a thread.
#include "engine/backend/cuda/kernels/activation.h"
#include "engine/backend/cuda/kernels/launch.h"
#include "engine/backend/cuda/kernels/packet.h"
#include "engine/backend/cuda/kernels/row_ops.h"

namespace prefixd::cuda {
namespace {

template <KernelActivation kActivation>
__device__ __forceinline__ void ActivateAll(float (&v)[kPacket]) {
  PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) v[i] = Activate<kActivation>(v[i]);
}

// v = activation(v). One branch for the packet, the same in all threads.
__device__ __forceinline__ void ActivatePacket(KernelActivation activation, float (&v)[kPacket]) {
  using enum KernelActivation;
  switch (activation) {
    case kNone:
      return;
    case kRelu:
      return ActivateAll<kRelu>(v);
    case kSilu:
      return ActivateAll<kSilu>(v);
    case kQuickGelu:
      return ActivateAll<kQuickGelu>(v);
    case kGelu:
      return ActivateAll<kGelu>(v);
    case kGeluTanh:
      return ActivateAll<kGeluTanh>(v);
  }
}

// The first column of this thread's packet.
__device__ __forceinline__ int PacketBegin() {
  return static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x) * kPacket;
}

template <bool kAligned, typename X, typename Y>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    BiasActivationKernel(const X* x, int64_t x_stride, const Y* bias, KernelActivation activation,
                         bool accumulate, Y* y, int64_t y_stride, int cols) {
  const int c = PacketBegin();
  if (c >= cols) return;
  const int count = PacketColumns(cols, c);
  float v[kPacket], other[kPacket];
  LoadPacket<kAligned>(x + blockIdx.x * x_stride + c, count, v);
  if (bias != nullptr) {
    LoadPacket<kAligned>(bias + c, count, other);
    PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) v[i] += other[i];
  }
  ActivatePacket(activation, v);
  y += blockIdx.x * y_stride + c;
  if (accumulate) {
    LoadPacket<kAligned>(y, count, other);
    PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) v[i] += other[i];
  }
  StorePacket<kAligned>(y, count, v);
}

// x: gate, then `cols` columns further up.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    GatedActivationKernel(const T* x, int64_t x_stride, KernelActivation activation, T* y,
                          int64_t y_stride, int cols) {
  const int c = PacketBegin();
  if (c >= cols) return;
  const int count = PacketColumns(cols, c);
  float gate[kPacket], up[kPacket];
  x += blockIdx.x * x_stride + c;
  LoadPacket<kAligned>(x, count, gate);
  LoadPacket<kAligned>(x + cols, count, up);
  ActivatePacket(activation, gate);
  PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) gate[i] *= up[i];
  StorePacket<kAligned>(y + blockIdx.x * y_stride + c, count, gate);
}

template <bool kAligned, typename T>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    AddKernel(const T* x, int64_t x_stride, T* y, int64_t y_stride, int cols) {
  const int c = PacketBegin();
  if (c >= cols) return;
  const int count = PacketColumns(cols, c);
  float v[kPacket], other[kPacket];
  y += blockIdx.x * y_stride + c;
  LoadPacket<kAligned>(x + blockIdx.x * x_stride + c, count, v);
  LoadPacket<kAligned>(y, count, other);
  PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) v[i] += other[i];
  StorePacket<kAligned>(y, count, v);
}

// A NaN stays one.
template <bool kAligned, typename T>
__global__ void __launch_bounds__(RowGrid::kMaxThreads)
    ScaleAndClampKernel(float factor, float limit, T* y, int64_t y_stride, int cols) {
  const int c = PacketBegin();
  if (c >= cols) return;
  const int count = PacketColumns(cols, c);
  float v[kPacket];
  y += blockIdx.x * y_stride + c;
  LoadPacket<kAligned>(y, count, v);
  PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) {
    v[i] *= factor;
    v[i] = v[i] < -limit ? -limit : v[i] > limit ? limit : v[i];
  }
  StorePacket<kAligned>(y, count, v);
}

template <typename X, typename Y>
cudaError_t LaunchBiasActivationAs(const DeviceMatrix& x, const DeviceMatrix* bias,
                                   KernelActivation activation, bool accumulate,
                                   const DeviceMatrix& y, cudaStream_t stream) {
  const bool all_aligned = IsAligned(x) && IsAligned(y) && (bias == nullptr || IsAligned(*bias));
  const RowGrid shape(y.rows, CeilDiv(y.cols, kPacket));
  return ForBool(all_aligned, [&](auto aligned) {
    PREFIXD_LAUNCH((BiasActivationKernel<decltype(aligned)::value, X, Y>), shape.grid, shape.block,
                   0, stream, static_cast<const X*>(x.data), x.stride,
                   static_cast<const Y*>(bias == nullptr ? nullptr : bias->data), activation,
                   accumulate, static_cast<Y*>(y.data), y.stride, static_cast<int>(y.cols));
    return cudaGetLastError();
  });
}

bool IsKnown(KernelActivation activation) { return activation <= KernelActivation::kGeluTanh; }

}  // namespace

cudaError_t LaunchBiasActivation(const DeviceMatrix& x, const DeviceMatrix* bias,
                                 KernelActivation activation, bool accumulate,
                                 const DeviceMatrix& y, cudaStream_t stream) {
  if (!IsValid(x) || !IsValid(y) || !SameShape(x, y) || !IsKnown(activation) ||
      (x.type != y.type && x.type != Element::kF32) || (bias != nullptr && !IsRowOf(*bias, y))) {
    return cudaErrorInvalidValue;
  }
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  return ForElement(y.type, [&](auto tag) {
    using Y = typename decltype(tag)::type;
    if (x.type == Element::kF32) {
      return LaunchBiasActivationAs<float, Y>(x, bias, activation, accumulate, y, stream);
    }
    return LaunchBiasActivationAs<Y, Y>(x, bias, activation, accumulate, y, stream);
  });
}

cudaError_t LaunchGatedActivation(const DeviceMatrix& x, KernelActivation activation,
                                  const DeviceMatrix& y, cudaStream_t stream) {
  if (!IsValid(x) || !IsValid(y) || x.type != y.type || x.rows != y.rows || x.cols != 2 * y.cols ||
      !IsKnown(activation)) {
    return cudaErrorInvalidValue;
  }
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  const bool all_aligned = IsAligned(x) && IsAligned(y) && y.cols * ElementSize(x.type) % 16 == 0;
  return ForElement(y.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return ForBool(all_aligned, [&](auto aligned) {
      const RowGrid shape(y.rows, CeilDiv(y.cols, kPacket));
      PREFIXD_LAUNCH((GatedActivationKernel<decltype(aligned)::value, T>), shape.grid, shape.block,
                     0, stream, static_cast<const T*>(x.data), x.stride, activation,
                     static_cast<T*>(y.data), y.stride, static_cast<int>(y.cols));
      return cudaGetLastError();
    });
  });
}

cudaError_t LaunchAdd(const DeviceMatrix& x, const DeviceMatrix& y, cudaStream_t stream) {
  if (!IsValid(x) || !IsValid(y) || x.type != y.type || x.cols != y.cols ||
      (x.rows != y.rows && x.rows != 1)) {
    return cudaErrorInvalidValue;
  }
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  return ForElement(y.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return ForBool(IsAligned(x) && IsAligned(y), [&](auto aligned) {
      const RowGrid shape(y.rows, CeilDiv(y.cols, kPacket));
      PREFIXD_LAUNCH((AddKernel<decltype(aligned)::value, T>), shape.grid, shape.block, 0, stream,
                     static_cast<const T*>(x.data), x.rows == 1 ? 0 : x.stride,
                     static_cast<T*>(y.data), y.stride, static_cast<int>(y.cols));
      return cudaGetLastError();
    });
  });
}

cudaError_t LaunchScaleAndClamp(float factor, float limit, const DeviceMatrix& y,
                                cudaStream_t stream) {
  if (!IsValid(y) || !(limit > 0)) return cudaErrorInvalidValue;
  if (y.rows == 0 || y.cols == 0) return cudaSuccess;
  return ForElement(y.type, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return ForBool(IsAligned(y), [&](auto aligned) {
      const RowGrid shape(y.rows, CeilDiv(y.cols, kPacket));
      PREFIXD_LAUNCH((ScaleAndClampKernel<decltype(aligned)::value, T>), shape.grid, shape.block, 0,
                     stream, factor, limit, static_cast<T*>(y.data), y.stride,
                     static_cast<int>(y.cols));
      return cudaGetLastError();
    });
  });
}

}  // namespace prefixd::cuda
