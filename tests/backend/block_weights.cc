#include "tests/backend/block_weights.h"

#include <random>

#include "engine/tensor/half.h"
#include "engine/tensor/quantized.h"

namespace prefixd {
namespace {

// Where the f16 numbers of a block lie, and the largest that they are multiplied by.
struct Halves {
  int scale_at = 0;
  int largest_code = 0;
  int min_at = -1;  // -1: none.
  int largest_min = 1;
};

Halves HalvesOf(DType dtype) {
  switch (dtype) {
    case DType::kQ8_0:
      return {0, 128};
    case DType::kQ4_0:
      return {0, 8};
    case DType::kQ4_1:
      return {0, 15, 2};
    case DType::kQ5_0:
      return {0, 16};
    case DType::kQ5_1:
      return {0, 31, 2};
    case DType::kQ4_K:
      return {0, 15 * 63, 2, 63};
    case DType::kQ5_K:
      return {0, 31 * 63, 2, 63};
    default:
      return {208, 32 * 128};
  }
}

}  // namespace

BlockWeights RandomBlocks(uint32_t seed, DType dtype, int64_t rows, int64_t cols) {
  std::mt19937 random(seed);
  BlockWeights result = {dtype, std::vector<uint8_t>(rows * RowBytes(dtype, cols)),
                         HostMatrix(rows, cols)};
  for (uint8_t& byte : result.bytes) byte = static_cast<uint8_t>(random());
  const auto put_half = [&](uint8_t* at, double largest) {
    const double unit = static_cast<double>(random()) * 0x1p-31 - 1;
    const uint16_t bits = FloatToF16(static_cast<float>(unit * largest));
    at[0] = bits & 255;
    at[1] = bits >> 8;
  };
  const Halves halves = HalvesOf(dtype);
  const size_t block_bytes = BlockOf(dtype).bytes;
  for (size_t at = 0; at < result.bytes.size(); at += block_bytes) {
    put_half(&result.bytes[at + halves.scale_at], 2.0 / halves.largest_code);
    if (halves.min_at >= 0) put_half(&result.bytes[at + halves.min_at], 1.0 / halves.largest_min);
  }
  for (int64_t row = 0; row < rows; ++row) {
    DequantizeRow(dtype, result.bytes.data() + row * RowBytes(dtype, cols), cols,
                  result.values.row(row));
  }
  return result;
}

std::unique_ptr<Matrix> MakeBlockWeight(Backend* backend, const BlockWeights& weights) {
  const int64_t rows = weights.values.rows, cols = weights.values.cols;
  auto matrix = backend->CreateMatrix(weights.dtype, rows, cols).value();
  std::vector<uint8_t> bytes(weights.bytes.size() + 1);
  std::copy(weights.bytes.begin(), weights.bytes.end(), bytes.begin() + 1);
  const int64_t row_bytes = RowBytes(weights.dtype, cols);
  const auto write = [&](int64_t begin, int64_t count) {
    const absl::Span<const uint8_t> piece(bytes.data() + 1 + begin * row_bytes, count * row_bytes);
    EXPECT_TRUE(backend->WriteMatrixRows(begin, piece, matrix.get()).ok());
  };
  const int64_t first = rows / 3;
  write(first, rows - first);
  write(0, first);
  return matrix;
}

}  // namespace prefixd
