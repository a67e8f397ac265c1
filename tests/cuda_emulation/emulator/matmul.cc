#include "tests/cuda_emulation/emulator/matmul.h"

#include <algorithm>
#include <vector>

#include "engine/tensor/half.h"

namespace prefixd::emu {
namespace {

constexpr int64_t kRows = 8;  // Of a, in a panel.
constexpr int64_t kCols = 4;  // Of b, at a time.
using Vector = float __attribute__((vector_size(32)));

float Load(const MatmulOperand& x, int64_t row, int64_t col) {
  const int64_t at = row * x.row_stride + col * x.col_stride;
  switch (x.type) {
    case CUDA_R_16F:
      return F16ToFloat(static_cast<const uint16_t*>(x.data)[at]);
    case CUDA_R_16BF:
      return BF16ToFloat(static_cast<const uint16_t*>(x.data)[at]);
    default:
      return static_cast<const float*>(x.data)[at];
  }
}

void Store(const MatmulOperand& x, int64_t row, int64_t col, float value) {
  const int64_t at = row * x.row_stride + col * x.col_stride;
  switch (x.type) {
    case CUDA_R_16F:
      static_cast<uint16_t*>(x.data)[at] = FloatToF16(value);
      return;
    case CUDA_R_16BF:
      static_cast<uint16_t*>(x.data)[at] = FloatToBF16(value);
      return;
    default:
      static_cast<float*>(x.data)[at] = value;
  }
}

// y[i * step] = element i of a line of x.
void Unpack(const void* data, cudaDataType_t type, int64_t stride, int64_t count, float* y,
            int64_t step) {
  const float* f32 = static_cast<const float*>(data);
  const uint16_t* bits = static_cast<const uint16_t*>(data);
  if (type == CUDA_R_32F) {
    for (int64_t i = 0; i < count; ++i) y[i * step] = f32[i * stride];
  } else if (type == CUDA_R_16BF) {
    for (int64_t i = 0; i < count; ++i) y[i * step] = BF16ToFloat(bits[i * stride]);
  } else {
    for (int64_t i = 0; i < count; ++i) y[i * step] = F16ToFloat(bits[i * stride]);
  }
}

const void* At(const MatmulOperand& x, int64_t row, int64_t col) {
  return static_cast<const char*>(x.data) +
         (row * x.row_stride + col * x.col_stride) * TypeBytes(x.type);
}

// sums[c][r] = the product of row r of the panel [k][kRows] and line c of `lines` [kCols][k].
void Tile(const float* panel, const float* lines, int64_t k, int64_t chunk, Vector* sums) {
  for (int64_t c = 0; c < kCols; ++c) sums[c] = Vector{};
  for (int64_t begin = 0; begin < k; begin += chunk) {
    const int64_t end = std::min(k, begin + chunk);
    Vector part[kCols] = {};
    for (int64_t i = begin; i < end; ++i) {
      Vector weights;
      __builtin_memcpy(&weights, panel + i * kRows, sizeof(weights));
      for (int64_t c = 0; c < kCols; ++c) part[c] += lines[c * k + i] * weights;
    }
    for (int64_t c = 0; c < kCols; ++c) sums[c] = begin == 0 ? part[c] : sums[c] + part[c];
  }
}

}  // namespace

int64_t TypeBytes(cudaDataType_t type) {
  return type == CUDA_R_32F ? 4 : type == CUDA_R_64F ? 8 : 2;
}

void RunMatmul(const Matmul& matmul) {
  const int64_t m = matmul.m, n = matmul.n, k = matmul.k;
  std::vector<float> lines((n + kCols - 1) / kCols * kCols * k), panel(kRows * k);
  for (int64_t col = 0; col < n; ++col) {
    Unpack(At(matmul.b, 0, col), matmul.b.type, matmul.b.row_stride, k, lines.data() + col * k, 1);
  }
  const MatmulOperand bias = {const_cast<void*>(matmul.bias), matmul.bias_type, 1, 0};
  for (int64_t row = 0; row < m; row += kRows) {
    const int64_t num_rows = std::min(kRows, m - row);
    for (int64_t r = 0; r < num_rows; ++r) {
      Unpack(At(matmul.a, row + r, 0), matmul.a.type, matmul.a.col_stride, k, panel.data() + r,
             kRows);
    }
    for (int64_t col = 0; col < n; col += kCols) {
      Vector sums[kCols];
      Tile(panel.data(), lines.data() + col * k, k, matmul.chunk, sums);
      for (int64_t c = 0; c < std::min(kCols, n - col); ++c) {
        for (int64_t r = 0; r < num_rows; ++r) {
          float value = matmul.alpha * sums[c][r];
          if (matmul.beta != 0) value += matmul.beta * Load(matmul.c, row + r, col + c);
          if (matmul.bias != nullptr) value += Load(bias, row + r, 0);
          Store(matmul.d, row + r, col + c, value);
        }
      }
    }
  }
}

}  // namespace prefixd::emu
