// The arithmetic of cuBLASLt's double: products of any strides and types with one rounding at the
// end, on one CPU thread.
#ifndef PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MATMUL_H_
#define PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MATMUL_H_

#include <cstdint>

#include "shim/cublasLt.h"

namespace prefixd::emu {

struct MatmulOperand {
  void* data = nullptr;
  cudaDataType_t type = CUDA_R_32F;
  int64_t row_stride = 0;  // In elements.
  int64_t col_stride = 0;
};

// d = round(alpha * (a * b) + beta * c + bias). a: [m, k], b: [k, n], c and d: [m, n], bias: one
// value a row, of `bias_type`, or null. c is not read where beta is 0; it may be d.
//
// An element sums its products in float32, one after another along k, in parts of `chunk` products
// that are then added in order. The other elements have no influence.
struct Matmul {
  int64_t m = 0, n = 0, k = 0, chunk = 0;
  MatmulOperand a, b, c, d;
  const void* bias = nullptr;
  cudaDataType_t bias_type = CUDA_R_32F;
  float alpha = 1, beta = 0;
};
void RunMatmul(const Matmul& matmul);

int64_t TypeBytes(cudaDataType_t type);

}  // namespace prefixd::emu

#endif  // PREFIXD_TESTS_CUDA_EMULATION_EMULATOR_MATMUL_H_
