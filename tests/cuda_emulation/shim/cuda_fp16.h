// Found in place of the toolkit's header by tests. Conversions only: kernels compute in float32.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_FP16_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_FP16_H_

#include "engine/tensor/half.h"
#include "shim/vectors.h"

struct alignas(2) __half {
  unsigned short bits;
};
struct alignas(4) __half2 {
  __half x, y;
};
using half = __half;
using half2 = __half2;

inline unsigned short __half_as_ushort(__half h) { return h.bits; }
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline float __half2float(__half h) { return prefixd::F16ToFloat(h.bits); }
inline __half __float2half_rn(float x) { return {prefixd::FloatToF16(x)}; }
inline __half __float2half(float x) { return __float2half_rn(x); }
inline __half2 __floats2half2_rn(float x, float y) {
  return {__float2half_rn(x), __float2half_rn(y)};
}
inline float2 __half22float2(__half2 h) { return {__half2float(h.x), __half2float(h.y)}; }

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_FP16_H_
