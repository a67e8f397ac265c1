#include "tests/cuda_emulation/device_kernels.h"

#include "engine/backend/cuda/device.h"

namespace prefixd::emu {
namespace {

namespace dev = ::prefixd::cuda::dev;

constexpr uint32_t kAll = 0xFFFFFFFF;

template <typename T, bool kByColumns>
__global__ void MmaKernel(const uint16_t* a, const uint16_t* b, float* d) {
  PREFIXD_DYN_SMEM(shared);
  uint16_t* shared_a = reinterpret_cast<uint16_t*>(shared);
  uint16_t* shared_b = shared_a + 16 * 16;
  const int lane = threadIdx.x, g = lane / 4, t = lane % 4;
  for (int i = lane; i < 256; i += 32) shared_a[i] = a[i];
  for (int i = lane; i < 128; i += 32) shared_b[i] = b[i];
  __syncthreads();
  // The four 8 x 8 quarters of a: rows 0-7 and 8-15 of columns 0-7, then of columns 8-15.
  uint32_t fragment_a[4], loaded[4];
  dev::LdMatrix4<false>(fragment_a, shared_a + lane % 16 * 16 + lane / 16 * 8);
  // The two halves of b; the upper 16 lanes load them once more.
  if constexpr (kByColumns) {
    dev::LdMatrix4<false>(loaded, shared_b + lane % 8 * 16 + lane / 8 % 2 * 8);
  } else {
    dev::LdMatrix4<true>(loaded, shared_b + lane % 16 * 8);
  }
  const uint32_t fragment_b[2] = {loaded[0], loaded[1]};
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = d[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2];
  dev::Mma16816<T>(sums, fragment_a, fragment_b);
  for (int i = 0; i < 4; ++i) d[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = sums[i];
}

template <typename T>
__global__ void RoundTripKernel(const float* x, int count, uint32_t* packed, float* y, float* z) {
  for (int i = threadIdx.x; i < count; i += blockDim.x) {
    packed[i] = dev::Pack2<T>(x[2 * i], x[2 * i + 1]);
    const float2 values = dev::Unpack2<T>(packed[i]);
    y[2 * i] = values.x;
    y[2 * i + 1] = values.y;
    z[2 * i] = dev::ToFloat(dev::FromFloat<T>(x[2 * i]));
    z[2 * i + 1] = dev::ToFloat(dev::FromFloat<T>(x[2 * i + 1]));
  }
}

__global__ void ShufflesKernel(unsigned* y) {
  const unsigned lane = threadIdx.x;
  y[lane] = __shfl_xor_sync(kAll, lane, 3);
  y[32 + lane] = __shfl_down_sync(kAll, lane, 5, 8);
  y[64 + lane] = __shfl_up_sync(kAll, lane, 2);
  y[96 + lane] = __shfl_sync(kAll, lane, 3, 4);
  y[128 + lane] = __any_sync(kAll, lane == 7);
  y[160 + lane] = __all_sync(kAll, lane < 32);
  y[192 + lane] = __ballot_sync(kAll, lane % 3 == 0);
}

__global__ void IntegersKernel(uint32_t* y) {
  const unsigned long long high = __umul64hi(0xFEDCBA9876543210ull, 0x123456789ABCDEFull);
  y[0] = __umulhi(0xDEADBEEFu, 0xCAFEBABEu);
  y[1] = static_cast<uint32_t>(high);
  y[2] = static_cast<uint32_t>(high >> 32);
  y[3] = __popc(0xF0F01u);
  y[4] = __clz(0x00012345);
  y[5] = __ffs(0x00F0);
}

}  // namespace

cudaError_t LaunchMma(bool is_bf16, bool b_by_columns, const uint16_t* a, const uint16_t* b,
                      float* d) {
  const dim3 one(1), warp(32);
  const size_t bytes = (256 + 128) * 2;
  if (is_bf16 && b_by_columns) {
    PREFIXD_LAUNCH((MmaKernel<dev::bf16, true>), one, warp, bytes, nullptr, a, b, d);
  } else if (is_bf16) {
    PREFIXD_LAUNCH((MmaKernel<dev::bf16, false>), one, warp, bytes, nullptr, a, b, d);
  } else if (b_by_columns) {
    PREFIXD_LAUNCH((MmaKernel<dev::f16, true>), one, warp, bytes, nullptr, a, b, d);
  } else {
    PREFIXD_LAUNCH((MmaKernel<dev::f16, false>), one, warp, bytes, nullptr, a, b, d);
  }
  return cudaGetLastError();
}

cudaError_t LaunchRoundTrip(bool is_bf16, const float* x, int count, uint32_t* packed, float* y,
                            float* z) {
  if (is_bf16) {
    PREFIXD_LAUNCH(RoundTripKernel<dev::bf16>, dim3(1), dim3(32), 0, nullptr, x, count, packed, y,
                   z);
  } else {
    PREFIXD_LAUNCH(RoundTripKernel<dev::f16>, dim3(1), dim3(32), 0, nullptr, x, count, packed, y,
                   z);
  }
  return cudaGetLastError();
}

cudaError_t LaunchShuffles(unsigned* y) {
  PREFIXD_LAUNCH(ShufflesKernel, dim3(1), dim3(32), 0, nullptr, y);
  return cudaGetLastError();
}

cudaError_t LaunchIntegers(uint32_t* y) {
  PREFIXD_LAUNCH(IntegersKernel, dim3(1), dim3(1), 0, nullptr, y);
  return cudaGetLastError();
}

}  // namespace prefixd::emu
