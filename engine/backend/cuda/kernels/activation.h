// The activations, in float32. None makes a NaN of a finite number, however large.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ACTIVATION_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ACTIVATION_H_

#include <cmath>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda {

template <KernelActivation kActivation>
__device__ __forceinline__ float Activate(float x) {
  if constexpr (kActivation == KernelActivation::kRelu) {
    return x > 0 ? x : 0.0f;
  } else if constexpr (kActivation == KernelActivation::kSilu) {
    return x / (1.0f + expf(-x));
  } else if constexpr (kActivation == KernelActivation::kQuickGelu) {
    return x / (1.0f + expf(-1.702f * x));
  } else if constexpr (kActivation == KernelActivation::kGelu) {
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  } else if constexpr (kActivation == KernelActivation::kGeluTanh) {
    const float u = 0.79788456080286536f * (x + 0.044715f * x * x * x);
    return 0.5f * x * (1.0f + tanhf(u));
  } else {
    return x;
  }
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_ACTIVATION_H_
