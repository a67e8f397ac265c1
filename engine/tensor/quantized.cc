#include "engine/tensor/quantized.h"

#include <cstring>

#include "base/check.h"
#include "engine/tensor/half.h"

namespace prefixd {
namespace {

uint16_t LoadBits16(const uint8_t* b) { return static_cast<uint16_t>(b[0] | b[1] << 8); }

// Elements j and j + 16 are the nibbles of byte j; `high` (or null) has the fifth bits.
void UnpackNibbles(const uint8_t* nibbles, const uint8_t* high, uint8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = nibbles[j] & 15;
    codes[j + 16] = nibbles[j] >> 4;
  }
  for (int j = 0; j < 32 && high != nullptr; ++j) {
    codes[j] = static_cast<uint8_t>(codes[j] | (high[j / 8] >> j % 8 & 1) << 4);
  }
}

// Scale and minimum of 6 bits of each of the 8 sub-blocks, from 12 bytes.
void UnpackSubScales(const uint8_t* bytes, BlockFields* fields) {
  for (int j = 0; j < 4; ++j) {
    fields->scales[j] = bytes[j] & 63;
    fields->mins[j] = bytes[j + 4] & 63;
    fields->scales[j + 4] = static_cast<uint8_t>((bytes[j + 8] & 15) | (bytes[j] >> 6) << 4);
    fields->mins[j + 4] = static_cast<uint8_t>((bytes[j + 8] >> 4) | (bytes[j + 4] >> 6) << 4);
  }
}

// Q4_K and, with the fifth bits in `high`, Q5_K.
void UnpackK(const uint8_t* nibbles, const uint8_t* high, uint8_t* codes) {
  for (int sub = 0; sub < 8; ++sub) {
    const uint8_t* const bytes = nibbles + sub / 2 * 32;
    uint8_t* const out = codes + sub * 32;
    const int shift = sub % 2 * 4;
    for (int l = 0; l < 32; ++l) out[l] = bytes[l] >> shift & 15;
    for (int l = 0; l < 32 && high != nullptr; ++l) {
      out[l] = static_cast<uint8_t>(out[l] | (high[l] >> sub & 1) << 4);
    }
  }
}

// Two halves of 128 elements, each of four quarters.
void UnpackQ6_K(const uint8_t* block, uint8_t* codes) {
  for (int part = 0; part < 8; ++part) {
    const int half = part / 4, quarter = part % 4;
    const uint8_t* const low = block + 64 * half + 32 * (quarter % 2);
    const uint8_t* const high = block + 128 + 32 * half;
    const int low_shift = quarter / 2 * 4, high_shift = quarter * 2;
    for (int l = 0; l < 32; ++l) {
      codes[part * 32 + l] =
          static_cast<uint8_t>((low[l] >> low_shift & 15) | (high[l] >> high_shift & 3) << 4);
    }
  }
}

}  // namespace

void UnpackBlock(DType dtype, const uint8_t* block, BlockFields* fields) {
  fields->d = LoadBits16(block);
  fields->m = LoadBits16(block + 2);
  switch (dtype) {
    case DType::kQ8_0:
      std::memcpy(fields->codes, block + 2, 32);
      return;
    case DType::kQ4_0:
      return UnpackNibbles(block + 2, nullptr, fields->codes);
    case DType::kQ4_1:
      return UnpackNibbles(block + 4, nullptr, fields->codes);
    case DType::kQ5_0:
      return UnpackNibbles(block + 6, block + 2, fields->codes);
    case DType::kQ5_1:
      return UnpackNibbles(block + 8, block + 4, fields->codes);
    case DType::kQ4_K:
      UnpackSubScales(block + 4, fields);
      return UnpackK(block + 16, nullptr, fields->codes);
    case DType::kQ5_K:
      UnpackSubScales(block + 4, fields);
      return UnpackK(block + 48, block + 16, fields->codes);
    case DType::kQ6_K:
      fields->d = LoadBits16(block + 208);
      std::memcpy(fields->scales, block + 192, 16);
      return UnpackQ6_K(block, fields->codes);
    default:
      PREFIXD_CHECK(false);
  }
}

void DequantizeFields(DType dtype, const BlockFields& fields, float* out) {
  const float d = F16ToFloat(fields.d);
  const float m = F16ToFloat(fields.m);
  const auto code = [&](int i) { return int{fields.codes[i]}; };
  switch (dtype) {
    case DType::kQ8_0:
      for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(code(i)));
      return;
    case DType::kQ4_0:
      for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(code(i) - 8);
      return;
    case DType::kQ5_0:
      for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(code(i) - 16);
      return;
    case DType::kQ4_1:
    case DType::kQ5_1:
      for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(code(i)) + m;
      return;
    case DType::kQ4_K:
    case DType::kQ5_K:
      for (int i = 0; i < 256; ++i) {
        out[i] = d * fields.scales[i / 32] * static_cast<float>(code(i)) - m * fields.mins[i / 32];
      }
      return;
    case DType::kQ6_K:
      for (int i = 0; i < 256; ++i) {
        out[i] = d * static_cast<int8_t>(fields.scales[i / 16]) * static_cast<float>(code(i) - 32);
      }
      return;
    default:
      PREFIXD_CHECK(false);
  }
}

void DequantizeRow(DType dtype, const uint8_t* blocks, int64_t cols, float* out) {
  const DTypeBlock block = BlockOf(dtype);
  PREFIXD_CHECK(IsQuantized(dtype) && cols % block.elements == 0);
  for (int64_t i = 0; i < cols / block.elements; ++i) {
    BlockFields fields;
    UnpackBlock(dtype, blocks + i * block.bytes, &fields);
    DequantizeFields(dtype, fields, out + i * block.elements);
  }
}

}  // namespace prefixd
