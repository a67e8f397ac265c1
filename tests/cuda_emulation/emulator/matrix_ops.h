// The warp-wide matrix instructions, fragment by fragment as the PTX ISA lays them out. Products
// are exact; sums are float32 from k = 0 upwards (a tensor core may round otherwise).
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MATRIX_OPS_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MATRIX_OPS_H_

#include <cstdint>

namespace prefixd::emu {

// mma.m16n8k16 of bf16 or f16, accumulating in float32.
void Mma16816(bool is_bf16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

// ldmatrix.x4. Fault: `row` is not a multiple of 16 or not 16 bytes of shared memory.
void LdMatrix4(bool transpose, uint32_t (&r)[4], const void* row);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MATRIX_OPS_H_
