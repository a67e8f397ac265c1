#include "bench/random_operands.h"

#include <cstring>
#include <random>
#include <vector>

#include "base/check.h"

namespace prefixd {

OwnedTensor RandomTensor(Backend* backend, int64_t rows, int64_t cols) {
  OwnedTensor tensor;
  tensor.buffer = backend->Allocate(rows * cols * sizeof(float)).value();
  tensor.view = {tensor.buffer.data(), DType::kF32, rows, cols, cols};
  std::mt19937 random(7);
  std::vector<float> values(rows * cols);
  for (float& v : values) v = static_cast<float>(random() % 2001) * 1e-3f - 1.0f;
  PREFIXD_CHECK(backend->Upload(values, tensor.view).ok());
  return tensor;
}

std::unique_ptr<Matrix> RandomMatrix(Backend* backend, DType dtype, int64_t rows, int64_t cols) {
  std::mt19937 random(9);
  std::vector<uint8_t> bytes(rows * RowBytes(dtype, cols));
  if (IsQuantized(dtype)) {
    // Random codes; every byte below 48, so that the f16 numbers among them are small.
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() % 48);
    auto matrix = backend->CreateMatrix(dtype, rows, cols).value();
    PREFIXD_CHECK(backend->WriteMatrixRows(0, bytes, matrix.get()).ok());
    return matrix;
  }
  // Random mantissas under the exponents of numbers between 1/4 and 1/2.
  for (size_t i = 0; i < bytes.size(); i += DTypeSize(dtype)) {
    const uint32_t bits = 0x3E800000 | (random() & 0x807FFFFF);
    const uint64_t stored = dtype == DType::kF32 ? bits : bits >> 16;
    std::memcpy(&bytes[i], &stored, DTypeSize(dtype));
  }
  auto matrix = backend->CreateMatrix(dtype, rows, cols).value();
  PREFIXD_CHECK(backend->WriteMatrixRows(0, bytes, matrix.get()).ok());
  return matrix;
}

}  // namespace prefixd
