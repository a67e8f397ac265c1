// Kernels that use device.h's instructions one by one.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_DEVICE_KERNELS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_DEVICE_KERNELS_H_

#include <cuda_runtime.h>

#include <cstdint>

namespace prefixd::emu {

// d[16, 8] += a[16, 16] b, with b[16, 8] row by row, or (b_by_columns) [8, 16], its columns. a and
// b hold the bits of f16 or bf16; LdMatrix4 brings them from shared memory: a as it lies, b
// transposed where it lies row by row.
cudaError_t LaunchMma(bool is_bf16, bool b_by_columns, const uint16_t* a, const uint16_t* b,
                      float* d);

// packed[i] = Pack2(x[2 i], x[2 i + 1]); y = Unpack2 of that; z = ToFloat(FromFloat(x)).
cudaError_t LaunchRoundTrip(bool is_bf16, const float* x, int count, uint32_t* packed, float* y,
                            float* z);

// What lane i gets of the values 0..31 by shuffles: xor 3; down 5 in groups of 8; up 2; from 3 in
// groups of 4; and the votes any(lane == 7), all(lane < 32), ballot(lane % 3 == 0). y: [7][32].
cudaError_t LaunchShuffles(unsigned* y);

// y[0..6): umulhi, umul64hi's two halves, popc, clz, ffs of fixed operands.
cudaError_t LaunchIntegers(uint32_t* y);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_DEVICE_KERNELS_H_
