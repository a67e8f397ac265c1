// Kernels work on packets: eight neighbouring columns of a row, held by one thread as floats. Which
// thread holds which column depends on the number of columns alone, so that sums of a row have the
// same bits whether its packets are moved in 16-byte accesses or element by element.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_PACKET_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_PACKET_H_

#include <cstdint>
#include <cstring>

#include "engine/backend/cuda/device.h"

namespace prefixd::cuda {

inline constexpr int kPacket = 8;

// How many columns of the packet at column `c` exist.
__device__ __forceinline__ int PacketColumns(int cols, int c) {
  if (PREFIXD_KERNEL_BUG(kTailNotMasked)) return kPacket;
  return cols - c < kPacket ? cols - c : kPacket;
}

// v = p[0..count), zero beyond. kAligned: p is a multiple of 16 bytes.
template <bool kAligned, typename T>
__device__ __forceinline__ void LoadPacket(const T* p, int count, float (&v)[kPacket]) {
  if (kAligned && count == kPacket) {
    if constexpr (sizeof(T) == sizeof(float)) {
      PREFIXD_UNROLL for (int i = 0; i < kPacket; i += 4) {
        const uint4 words = dev::Load16(p + i);
        memcpy(v + i, &words, sizeof(words));
      }
    } else {
      const uint4 words = dev::Load16(p);
      const uint32_t pairs[4] = {words.x, words.y, words.z, words.w};
      PREFIXD_UNROLL for (int i = 0; i < 4; ++i) {
        const float2 pair = dev::Unpack2<T>(pairs[i]);
        v[2 * i] = pair.x;
        v[2 * i + 1] = pair.y;
      }
    }
    return;
  }
  PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) v[i] = i < count ? dev::ToFloat(p[i]) : 0.0f;
}

// p[0..count) = v, rounded to nearest even.
template <bool kAligned, typename T>
__device__ __forceinline__ void StorePacket(T* p, int count, const float (&v)[kPacket]) {
  if (kAligned && count == kPacket) {
    if constexpr (sizeof(T) == sizeof(float)) {
      PREFIXD_UNROLL for (int i = 0; i < kPacket; i += 4) {
        uint4 words;
        memcpy(&words, v + i, sizeof(words));
        dev::Store16(p + i, words);
      }
    } else {
      dev::Store16(p, uint4{dev::Pack2<T>(v[0], v[1]), dev::Pack2<T>(v[2], v[3]),
                            dev::Pack2<T>(v[4], v[5]), dev::Pack2<T>(v[6], v[7])});
    }
    return;
  }
  PREFIXD_UNROLL for (int i = 0; i < kPacket; ++i) {
    if (i < count) p[i] = dev::FromFloat<T>(v[i]);
  }
}

}  // namespace prefixd::cuda

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_KERNELS_PACKET_H_
