// Found in place of the toolkit's header by tests. Conversions only: kernels compute in float32.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_BF16_H_
#define PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_BF16_H_

#include "engine/tensor/half.h"
#include "shim/vectors.h"

struct alignas(2) __nv_bfloat16 {
  unsigned short bits;
};
struct alignas(4) __nv_bfloat162 {
  __nv_bfloat16 x, y;
};

inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return {bits}; }
inline float __bfloat162float(__nv_bfloat16 b) { return prefixd::BF16ToFloat(b.bits); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {prefixd::FloatToBF16(x)}; }
inline __nv_bfloat16 __float2bfloat16(float x) { return __float2bfloat16_rn(x); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
  return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline float2 __bfloat1622float2(__nv_bfloat162 b) {
  return {__bfloat162float(b.x), __bfloat162float(b.y)};
}

#endif  // PREFIXD_TESTS_CUDA_EMULATION_SHIM_CUDA_BF16_H_
