// Arithmetic of the draw that must be the host's to the bit (engine/backend/host_draw.h).
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_MATH_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_MATH_H_

#include <cstdint>

#include "engine/backend/cuda/device.h"
#include "engine/backend/cuda/kernels/types.h"

namespace prefixd::cuda::dev {

__device__ __forceinline__ float LoadScore(const DeviceMatrix& x, int64_t row, int32_t id) {
  const int64_t at = row * x.stride + id;
  if (x.type == Element::kF32) return static_cast<const float*>(x.data)[at];
  if (x.type == Element::kF16) return ToFloat(static_cast<const f16*>(x.data)[at]);
  return ToFloat(static_cast<const bf16*>(x.data)[at]);
}

// Ascending with the value; both zeros are equal, infinities are the ends, NaN is beyond them.
__device__ __forceinline__ uint32_t OrderedBits(float value) {
  if (value == 0.0f) value = 0.0f;  // No minus.
  const uint32_t bits = __float_as_uint(value);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
inline constexpr uint32_t kMinusInfinity = 0x007fffffu;  // Their ordered bits.
inline constexpr uint32_t kInfinity = 0xff800000u;

__device__ __forceinline__ float FromOrderedBits(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7fffffffu : ~key);
}

// Ascending with the likelihood: of equal scores the lower id is the likelier.
__device__ __forceinline__ uint64_t Rank(uint32_t key, uint32_t id) {
  return uint64_t{key} << 32 | static_cast<uint32_t>(~id);
}
__device__ __forceinline__ uint64_t Rank(float score, int32_t id) {
  return Rank(OrderedBits(score), static_cast<uint32_t>(id));
}
__device__ __forceinline__ int32_t IdOf(uint64_t rank) {
  return static_cast<int32_t>(~static_cast<uint32_t>(rank));
}
__device__ __forceinline__ float ScoreOf(uint64_t rank) {
  return FromOrderedBits(static_cast<uint32_t>(rank >> 32));
}

__device__ __forceinline__ double Weight(float score, float largest) {
  return exp(static_cast<double>(score) - static_cast<double>(largest));
}

// The first 64 bits of Philox4x32-10 (Salmon et al., SC 2011): counter (c0, c1, 0, 0).
__device__ inline uint64_t Philox(uint64_t key, uint32_t c0, uint32_t c1) {
  uint32_t c2 = 0, c3 = 0;
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return uint64_t{c1} << 32 | c0;
}

}  // namespace prefixd::cuda::dev

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_DRAW_MATH_H_
