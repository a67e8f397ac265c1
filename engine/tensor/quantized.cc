#include "engine/tensor/quantized.h"

#include "base/check.h"
#include "engine/tensor/half.h"

namespace prefixd {
namespace {

float LoadF16(const uint8_t* bytes) {
  return F16ToFloat(static_cast<uint16_t>(bytes[0] | bytes[1] << 8));
}

uint32_t LoadBits32(const uint8_t* b) {
  return uint32_t{b[0]} | uint32_t{b[1]} << 8 | uint32_t{b[2]} << 16 | uint32_t{b[3]} << 24;
}

void DequantizeQ8_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int j = 0; j < 32; ++j) {
    out[j] = d * static_cast<float>(static_cast<int8_t>(block[2 + j]));
  }
}

// Q4_0, Q4_1, Q5_0 and Q5_1: `nibbles` of elements j and j + 16 in one byte, the fifth bit of each
// element in `high`.
void DequantizeNibbles(const uint8_t* nibbles, uint32_t high, float d, int offset, const float* m,
                       float* out) {
  for (int j = 0; j < 32; ++j) {
    const int nibble = j < 16 ? nibbles[j] & 15 : nibbles[j - 16] >> 4;
    const int q = (nibble | static_cast<int>(high >> j & 1) << 4) - offset;
    out[j] = d * static_cast<float>(q);
    if (m != nullptr) out[j] += *m;
  }
}

// Q4_K and, with the fifth bits in `high`, Q5_K.
void DequantizeK(const uint8_t* block, const uint8_t* high, const uint8_t* nibbles, float* out) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  for (int sub = 0; sub < 8; ++sub) {
    const SubScale s = SubScaleOf(block + 4, sub);
    const float scale = d * static_cast<float>(s.scale);
    const float min = dmin * static_cast<float>(s.min);
    for (int l = 0; l < 32; ++l) {
      const int byte = nibbles[sub / 2 * 32 + l];
      int q = sub % 2 == 0 ? byte & 15 : byte >> 4;
      if (high != nullptr) q |= (high[l] >> sub & 1) << 4;
      out[sub * 32 + l] = scale * static_cast<float>(q) - min;
    }
  }
}

void DequantizeQ6_K(const uint8_t* block, float* out) {
  const float d = LoadF16(block + 208);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, quarter = i % 128 / 32, l = i % 32;
    const int low = block[64 * half + 32 * (quarter % 2) + l];
    const int high = block[128 + 32 * half + l] >> 2 * quarter & 3;
    const int q = ((quarter < 2 ? low & 15 : low >> 4) | high << 4) - 32;
    const int scale = static_cast<int8_t>(block[192 + 8 * half + 2 * quarter + l / 16]);
    out[i] = d * static_cast<float>(scale) * static_cast<float>(q);
  }
}

void DequantizeBlock(DType dtype, const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const float m = LoadF16(block + 2);
  switch (dtype) {
    case DType::kQ8_0:
      return DequantizeQ8_0(block, out);
    case DType::kQ4_0:
      return DequantizeNibbles(block + 2, 0, d, 8, nullptr, out);
    case DType::kQ4_1:
      return DequantizeNibbles(block + 4, 0, d, 0, &m, out);
    case DType::kQ5_0:
      return DequantizeNibbles(block + 6, LoadBits32(block + 2), d, 16, nullptr, out);
    case DType::kQ5_1:
      return DequantizeNibbles(block + 8, LoadBits32(block + 4), d, 0, &m, out);
    case DType::kQ4_K:
      return DequantizeK(block, nullptr, block + 16, out);
    case DType::kQ5_K:
      return DequantizeK(block, block + 16, block + 48, out);
    case DType::kQ6_K:
      return DequantizeQ6_K(block, out);
    default:
      PREFIXD_CHECK(false);
  }
}

}  // namespace

SubScale SubScaleOf(const uint8_t* scales, int index) {
  if (index < 4) return {scales[index] & 63, scales[index + 4] & 63};
  return {(scales[index + 4] & 15) | (scales[index - 4] >> 6) << 4,
          (scales[index + 4] >> 4) | (scales[index] >> 6) << 4};
}

void DequantizeRow(DType dtype, const uint8_t* blocks, int64_t cols, float* out) {
  const DTypeBlock block = BlockOf(dtype);
  PREFIXD_CHECK(IsQuantized(dtype) && cols % block.elements == 0);
  for (int64_t i = 0; i < cols / block.elements; ++i) {
    DequantizeBlock(dtype, blocks + i * block.bytes, out + i * block.elements);
  }
}

}  // namespace prefixd
