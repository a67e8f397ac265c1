// DequantizeRow: blocks built by hand against the formulas in double precision, and random blocks
// against the values of the gguf package (tests/golden/make/quantized.py).
#include "engine/tensor/quantized.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "engine/tensor/half.h"
#include "gtest/gtest.h"

namespace prefixd {
namespace {

// The bytes of a block, appended field by field.
struct Block {
  std::vector<uint8_t> bytes;

  Block& Half(float value) {
    const uint16_t bits = FloatToF16(value);
    return Byte(bits & 255).Byte(bits >> 8);
  }
  Block& Byte(int value) {
    bytes.push_back(static_cast<uint8_t>(value));
    return *this;
  }
};

std::vector<float> Values(DType dtype, const Block& block) {
  EXPECT_EQ(static_cast<int64_t>(block.bytes.size()), BlockOf(dtype).bytes);
  std::vector<float> values(BlockOf(dtype).elements);
  DequantizeRow(dtype, block.bytes.data(), BlockOf(dtype).elements, values.data());
  return values;
}

// All sixteen nibbles: element j is j, element j + 16 is 15 - j.
Block& AddNibbles(Block& block) {
  for (int j = 0; j < 16; ++j) block.Byte(j | (15 - j) << 4);
  return block;
}
int Nibble(int element) { return element < 16 ? element : 31 - element; }

TEST(Quantized, Q8_0HasSignedBytes) {
  Block block;
  block.Half(-0.125f);
  for (int j = 0; j < 32; ++j) block.Byte(j * 8 - 128);
  const std::vector<float> values = Values(DType::kQ8_0, block);
  for (int j = 0; j < 32; ++j) EXPECT_EQ(values[j], -0.125 * (j * 8 - 128)) << j;
}

TEST(Quantized, Q4_0IsCentredOnEight) {
  for (const float d : {0.75f, -3.0f, 0x1p-24f, -0x3p-20f}) {  // The last two are subnormal.
    Block block;
    const std::vector<float> values = Values(DType::kQ4_0, AddNibbles(block.Half(d)));
    for (int j = 0; j < 32; ++j) EXPECT_EQ(values[j], double{d} * (Nibble(j) - 8)) << j;
  }
}

TEST(Quantized, Q4_1AddsItsMinimumWithOneRounding) {
  for (const float m : {-4.0f, 0x1.554p-3f, 0x1p-24f}) {
    Block block;
    const float d = 0x1.ffcp5f;
    const std::vector<float> values = Values(DType::kQ4_1, AddNibbles(block.Half(d).Half(m)));
    for (int j = 0; j < 32; ++j) {
      EXPECT_EQ(values[j], static_cast<float>(double{d} * Nibble(j) + m)) << j;
    }
  }
}

TEST(Quantized, Q5HaveAFifthBit) {
  constexpr uint32_t kHigh = 0xC5A3F00Fu;
  const auto code = [&](int j) { return Nibble(j) + static_cast<int>(kHigh >> j & 1) * 16; };
  Block centred, from_minimum;
  centred.Half(-0.5f);
  from_minimum.Half(-0.5f).Half(7.25f);
  for (Block* const block : {&centred, &from_minimum}) {
    for (int i = 0; i < 4; ++i) block->Byte(kHigh >> 8 * i & 255);
    AddNibbles(*block);
  }
  const std::vector<float> q5_0 = Values(DType::kQ5_0, centred);
  const std::vector<float> q5_1 = Values(DType::kQ5_1, from_minimum);
  for (int j = 0; j < 32; ++j) {
    EXPECT_EQ(q5_0[j], -0.5 * (code(j) - 16)) << j;
    EXPECT_EQ(q5_1[j], -0.5 * code(j) + 7.25) << j;
  }
}

// Scales 1, 9, 17, ... and minima 63, 62, ..., so that sub-blocks 4 to 7 need their high bits.
int Scale(int sub) { return 1 + 8 * sub; }
int Min(int sub) { return 63 - sub; }
void AddSubScales(Block* block) {
  for (int i = 0; i < 4; ++i) block->Byte(Scale(i) | (Scale(i + 4) >> 4) << 6);
  for (int i = 0; i < 4; ++i) block->Byte(Min(i) | (Min(i + 4) >> 4) << 6);
  for (int i = 0; i < 4; ++i) block->Byte((Scale(i + 4) & 15) | (Min(i + 4) & 15) << 4);
}

TEST(Quantized, Q4_KAndQ5_KScaleTheirSubBlocks) {
  const float d = -0.3125f, dmin = 0x3p-22f;
  // Element e of sub-block s: (5 e + 3 s) mod 16, and the fifth bit (e + s) mod 3 == 0.
  const auto nibble = [](int s, int e) { return (5 * e + 3 * s) % 16; };
  const auto high = [](int s, int e) { return (e + s) % 3 == 0 ? 1 : 0; };
  Block q4_k, q5_k;
  for (Block* const block : {&q4_k, &q5_k}) {
    block->Half(d).Half(dmin);
    AddSubScales(block);
    if (block == &q5_k) {
      for (int e = 0; e < 32; ++e) {
        int bits = 0;
        for (int s = 0; s < 8; ++s) bits |= high(s, e) << s;
        block->Byte(bits);
      }
    }
    for (int chunk = 0; chunk < 4; ++chunk) {
      for (int e = 0; e < 32; ++e) {
        block->Byte(nibble(2 * chunk, e) | nibble(2 * chunk + 1, e) << 4);
      }
    }
  }
  const std::vector<float> values4 = Values(DType::kQ4_K, q4_k);
  const std::vector<float> values5 = Values(DType::kQ5_K, q5_k);
  for (int i = 0; i < 256; ++i) {
    const int s = i / 32, e = i % 32;
    const double scale = double{d} * Scale(s), min = double{dmin} * Min(s);
    EXPECT_EQ(values4[i], static_cast<float>(scale * nibble(s, e) - min)) << i;
    EXPECT_EQ(values5[i], static_cast<float>(scale * (nibble(s, e) + 16 * high(s, e)) - min)) << i;
  }
}

TEST(Quantized, Q6_KHasSixteenSignedScales) {
  // Code of element i: every one of 0..63 four times, in an order that no field shares.
  const auto code = [](int i) { return (i * 37 + i / 64) % 64; };
  const auto scale = [](int i) { return i / 16 % 2 == 0 ? -128 + i / 16 : 127 - i / 16; };
  Block block;
  for (int half = 0; half < 2; ++half) {
    for (int l = 0; l < 64; ++l) {
      const int i = 128 * half + l;
      block.Byte((code(i) & 15) | (code(i + 64) & 15) << 4);
    }
  }
  for (int half = 0; half < 2; ++half) {
    for (int l = 0; l < 32; ++l) {
      const int i = 128 * half + l;
      block.Byte(code(i) >> 4 | (code(i + 32) >> 4) << 2 | (code(i + 64) >> 4) << 4 |
                 (code(i + 96) >> 4) << 6);
    }
  }
  for (int i = 0; i < 256; i += 16) block.Byte(scale(i));
  block.Half(-0x1p-24f);
  const std::vector<float> values = Values(DType::kQ6_K, block);
  for (int i = 0; i < 256; ++i) {
    EXPECT_EQ(values[i], -0x1p-24 * scale(i) * (code(i) - 32)) << i;
  }
}

TEST(Quantized, AgreesWithTheGgufPackageBitForBit) {
  constexpr int64_t kElements = 1024;
  std::ifstream file(PREFIXD_SOURCE_DIR "/tests/golden/quantized.bin", std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  size_t at = 0;
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kQ5_0, DType::kQ5_1,
                            DType::kQ4_K, DType::kQ5_K, DType::kQ6_K}) {
    SCOPED_TRACE(DTypeName(dtype));
    const size_t row_bytes = RowBytes(dtype, kElements);
    ASSERT_LE(at + row_bytes + kElements * sizeof(float), bytes.size());
    std::vector<float> values(kElements), expected(kElements);
    std::memcpy(expected.data(), bytes.data() + at + row_bytes, kElements * sizeof(float));
    DequantizeRow(dtype, reinterpret_cast<const uint8_t*>(bytes.data()) + at, kElements,
                  values.data());
    for (int64_t i = 0; i < kElements; ++i) {
      ASSERT_EQ(std::bit_cast<uint32_t>(values[i]), std::bit_cast<uint32_t>(expected[i]))
          << i << ": " << values[i] << ", expected " << expected[i];
    }
    at += row_bytes + kElements * sizeof(float);
  }
  EXPECT_EQ(at, bytes.size());
}

}  // namespace
}  // namespace prefixd
