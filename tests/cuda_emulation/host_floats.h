// The 16-bit floats of kernels in host code that is compiled for the emulation and for a card.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_HOST_FLOATS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_HOST_FLOATS_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <bit>
#include <cstdint>
#include <type_traits>

#include "engine/tensor/half.h"

namespace prefixd::cuda::host {

using bf16 = __nv_bfloat16;
using f16 = __half;

inline float ToFloat(float x) { return x; }
inline float ToFloat(f16 x) { return F16ToFloat(std::bit_cast<uint16_t>(x)); }
inline float ToFloat(bf16 x) { return BF16ToFloat(std::bit_cast<uint16_t>(x)); }

// T: float, f16 or bf16. Rounds to nearest even.
template <typename T>
T FromFloat(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else if constexpr (std::is_same_v<T, f16>) {
    return std::bit_cast<f16>(FloatToF16(x));
  } else {
    static_assert(std::is_same_v<T, bf16>);
    return std::bit_cast<bf16>(FloatToBF16(x));
  }
}

}  // namespace prefixd::cuda::host

#endif  // PREFIXD_TESTS_CUDA_EMULATION_HOST_FLOATS_H_
