// What kernels need beyond the CUDA language that both compilers understand: launches, dynamic
// shared memory, and the instructions of tensor cores and asynchronous copies. nvcc sees PTX, and
// this is the only file that has any; the emulation of tests/cuda_emulation sees twins that compute
// the same from the same fragments. Instructions: PTX ISA, sections on mma, ldmatrix and cp.async.
#ifndef PREFIXD_ENGINE_BACKEND_CUDA_DEVICE_H_
#define PREFIXD_ENGINE_BACKEND_CUDA_DEVICE_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "engine/backend/cuda/kernel_bug.h"

#if defined(__CUDACC__)
// unsigned char* name: the dynamic shared memory of the launch, aligned to 128 bytes.
#define PREFIXD_DYN_SMEM(name) extern __shared__ __align__(128) unsigned char name[]
// Enqueues a kernel (a template instance in parentheses); errors are cudaGetLastError's.
#define PREFIXD_LAUNCH(kernel, grid, block, smem_bytes, stream, ...) \
  (kernel)<<<(grid), (block), (smem_bytes), (stream)>>>(__VA_ARGS__)
#define PREFIXD_UNROLL _Pragma("unroll")
#else
#define PREFIXD_DYN_SMEM(name) unsigned char* const name = ::prefixd::emu::DynamicSharedMemory()
#define PREFIXD_LAUNCH(kernel, grid, block, smem_bytes, stream, ...)       \
  ::prefixd::emu::Launch(#kernel, (kernel), (grid), (block), (smem_bytes), \
                         (stream)__VA_OPT__(, ) __VA_ARGS__)
#define PREFIXD_UNROLL
#endif

namespace prefixd::cuda::dev {

using bf16 = __nv_bfloat16;
using f16 = __half;

// Threads of a kernel that wants more than 48 KiB of dynamic shared memory: once before its launch.
template <typename Kernel>
cudaError_t AllowSharedMemory(Kernel* kernel, size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(bytes));
}

// 2^x; on a device within 2 ulp, and subnormal numbers are zero.
__device__ __forceinline__ float Exp2(float x) {
#if defined(__CUDA_ARCH__)
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#else
  return exp2f(x);
#endif
}

__device__ __forceinline__ float ToFloat(float x) { return x; }
__device__ __forceinline__ float ToFloat(f16 x) { return __half2float(x); }
__device__ __forceinline__ float ToFloat(bf16 x) { return __bfloat162float(x); }

// T: float, f16 or bf16. Rounds to nearest even.
template <typename T>
__device__ __forceinline__ T FromFloat(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else if constexpr (std::is_same_v<T, f16>) {
    return __float2half_rn(x);
  } else {
    static_assert(std::is_same_v<T, bf16>);
    return __float2bfloat16_rn(x);
  }
}

// 16 bytes at an address that is a multiple of 16.
__device__ __forceinline__ uint4 Load16(const void* p) {
#if !defined(__CUDACC__)
  ::prefixd::emu::CheckAligned16(p, "Load16");
#endif
  return *static_cast<const uint4*>(p);
}

__device__ __forceinline__ void Store16(void* p, uint4 value) {
#if !defined(__CUDACC__)
  ::prefixd::emu::CheckAligned16(p, "Store16");
#endif
  *static_cast<uint4*>(p) = value;
}

// Two values of T (f16 or bf16) in one register, the first in the low half.
template <typename T>
__device__ __forceinline__ float2 Unpack2(uint32_t packed) {
  if constexpr (std::is_same_v<T, bf16>) {
    return make_float2(__uint_as_float(packed << 16), __uint_as_float(packed & 0xFFFF0000u));
  } else {
    static_assert(std::is_same_v<T, f16>);
    return make_float2(__half2float(__ushort_as_half(static_cast<unsigned short>(packed))),
                       __half2float(__ushort_as_half(static_cast<unsigned short>(packed >> 16))));
  }
}

template <typename T>
__device__ __forceinline__ uint32_t Pack2(float low, float high) {
#if defined(__CUDA_ARCH__)
  uint32_t packed;
  if constexpr (std::is_same_v<T, bf16>) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  } else {
    static_assert(std::is_same_v<T, f16>);
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  }
  return packed;
#else
  if constexpr (std::is_same_v<T, bf16>) {
    return static_cast<uint32_t>(__bfloat16_as_ushort(__float2bfloat16_rn(high))) << 16 |
           __bfloat16_as_ushort(__float2bfloat16_rn(low));
  } else {
    static_assert(std::is_same_v<T, f16>);
    return static_cast<uint32_t>(__half_as_ushort(__float2half_rn(high))) << 16 |
           __half_as_ushort(__float2half_rn(low));
  }
#endif
}

// D (16 x 8) += A (16 x 16) B (16 x 8), by a whole warp; T: f16 or bf16, sums in float32. With
// g = lane / 4 and t = lane % 4: a[i] holds A[g + 8 (i & 1)][2 t + 8 (i >> 1) + {0, 1}], b[i] holds
// B[2 t + 8 i + {0, 1}][g], d[i] is D[g + 8 (i >> 1)][2 t + (i & 1)].
template <typename T>
__device__ __forceinline__ void Mma16816(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  static_assert(std::is_same_v<T, f16> || std::is_same_v<T, bf16>);
#if defined(__CUDA_ARCH__)
  if constexpr (std::is_same_v<T, bf16>) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#elif !defined(__CUDACC__)
  ::prefixd::emu::Mma16816(std::is_same_v<T, bf16>, d, a, b);
#endif
}

// Copies 16 bytes to shared memory, or writes zeros there without reading if `predicate` is false;
// both addresses are multiples of 16. What it wrote may be read by this thread after a
// CpAsyncWait that covers it, by others after a barrier that follows.
__device__ __forceinline__ void CpAsync16(void* shared, const void* global, bool predicate) {
#if defined(__CUDA_ARCH__)
  const uint32_t destination = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const int bytes = predicate ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination), "l"(global),
               "r"(bytes)
               : "memory");
#elif !defined(__CUDACC__)
  ::prefixd::emu::CpAsync16(shared, global, predicate);
#endif
}

// The copies since the last commit become one group.
__device__ __forceinline__ void CpAsyncCommit() {
#if defined(__CUDA_ARCH__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#elif !defined(__CUDACC__)
  ::prefixd::emu::CpAsyncCommit();
#endif
}

// Waits until at most the N newest groups of this thread are under way.
template <int N>
__device__ __forceinline__ void CpAsyncWait() {
#if defined(__CUDA_ARCH__)
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#elif !defined(__CUDACC__)
  ::prefixd::emu::CpAsyncWait(N);
#endif
}

// Four 8 x 8 matrices of 16-bit elements from shared memory, by a whole warp: lane i gives the
// address (a multiple of 16) of row i % 8 of matrix i / 8. r[m] holds elements 2 t and 2 t + 1 of
// row g of matrix m (g = lane / 4, t = lane % 4); with kTranspose of column g.
template <bool kTranspose>
__device__ __forceinline__ void LdMatrix4(uint32_t (&r)[4], const void* row) {
#if defined(__CUDA_ARCH__)
  const uint32_t address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (kTranspose) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
#elif !defined(__CUDACC__)
  ::prefixd::emu::LdMatrix4(kTranspose, r, row);
#endif
}

}  // namespace prefixd::cuda::dev

#endif  // PREFIXD_ENGINE_BACKEND_CUDA_DEVICE_H_
