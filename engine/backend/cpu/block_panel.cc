#include "engine/backend/cpu/block_panel.h"

#include <cstring>

#include "base/check.h"
#include "engine/backend/cpu/block_layout.h"
#include "engine/tensor/quantized.h"

namespace prefixd::cpu {
namespace {

// Copies one field of one column between a panel and host variables.
struct ToPanel {
  template <typename T>
  static void Copy(std::byte* panel, T* value) {
    std::memcpy(panel, value, sizeof(T));
  }
};
struct FromPanel {
  template <typename T>
  static void Copy(const std::byte* panel, T* value) {
    std::memcpy(value, panel, sizeof(T));
  }
};

// The 8 codes of group `group` of a step: their low four bits, and the word's share of the higher
// ones, which the word's other groups complete.
uint32_t LowBitsOf(const uint8_t* codes) {
  uint32_t word = 0;
  for (int b = 0; b < 4; ++b) {
    word |= static_cast<uint32_t>((codes[b] & 15) | (codes[4 + b] & 15) << 4) << 8 * b;
  }
  return word;
}
uint32_t HighBitsWord(const uint8_t* codes, int high_bits, int shift) {
  uint32_t word = 0;
  for (int b = 0; b < 4; ++b) {
    const int both = codes[b] >> 4 | (codes[4 + b] >> 4) << high_bits;
    word |= static_cast<uint32_t>(both) << (8 * b + shift);
  }
  return word;
}
void SetCodes(uint32_t low, uint32_t high, int high_bits, uint8_t* codes) {
  const int mask = (1 << high_bits) - 1;
  for (int b = 0; b < 4; ++b) {
    const int both = static_cast<int>(high >> 8 * b);
    codes[b] = static_cast<uint8_t>((low >> 8 * b & 15) | (both & mask) << 4);
    codes[4 + b] =
        static_cast<uint8_t>((low >> (8 * b + 4) & 15) | (both >> high_bits & mask) << 4);
  }
}

void PackCodes(const BlockLayout& layout, const uint8_t* codes, int64_t column, std::byte* step) {
  if (layout.code_bits == 8) {
    for (int k = 0; k < kStepDepth; ++k) {
      step[k * kPanelColumns + column] = static_cast<std::byte>(codes[k]);
    }
    return;
  }
  uint32_t high[2] = {};
  for (int g = 0; g < 4; ++g) {
    uint32_t low = LowBitsOf(codes + g * kGroupDepth);
    ToPanel::Copy(step + (g * kPanelColumns + column) * 4, &low);
    if (layout.code_bits == 4) continue;
    const HighBits at = HighBitsOf(layout.code_bits, g);
    high[at.word] |= HighBitsWord(codes + g * kGroupDepth, layout.code_bits - 4, at.shift);
  }
  for (int word = 0; word < layout.code_bits - 4; ++word) {
    ToPanel::Copy(step + layout.low_bytes() + (word * kPanelColumns + column) * 4, &high[word]);
  }
}

void UnpackCodes(const BlockLayout& layout, const std::byte* step, int64_t column, uint8_t* codes) {
  if (layout.code_bits == 8) {
    for (int k = 0; k < kStepDepth; ++k) {
      codes[k] = static_cast<uint8_t>(step[k * kPanelColumns + column]);
    }
    return;
  }
  uint32_t high[2] = {};
  for (int word = 0; word < layout.code_bits - 4; ++word) {
    FromPanel::Copy(step + layout.low_bytes() + (word * kPanelColumns + column) * 4, &high[word]);
  }
  for (int g = 0; g < 4; ++g) {
    uint32_t low;
    FromPanel::Copy(step + (g * kPanelColumns + column) * 4, &low);
    const HighBits at = HighBitsOf(layout.code_bits, g);
    SetCodes(low, high[at.word] >> at.shift, layout.code_bits - 4, codes + g * kGroupDepth);
  }
}

// The sub-scales of a step: two bytes of a column.
struct SubFields {
  uint8_t* first;
  uint8_t* second;
};
SubFields SubFieldsOf(const BlockLayout& layout, int step, BlockFields* fields) {
  if (layout.sub_depth == kStepDepth) return {&fields->scales[step], &fields->mins[step]};
  return {&fields->scales[2 * step], &fields->scales[2 * step + 1]};
}

// Both ways through a super: Direction copies the header and the sub-scales, `codes` the codes.
template <typename Direction, typename Byte, typename CopyCodes>
void CopySuper(const BlockLayout& layout, int64_t column, Byte* super, BlockFields* fields,
               CopyCodes codes) {
  Direction::Copy(super + 2 * column, &fields->d);
  if (layout.has_min) Direction::Copy(super + 2 * (kPanelColumns + column), &fields->m);
  for (int step = 0; step < layout.super_depth / kStepDepth; ++step) {
    Byte* const at = super + layout.header_bytes() + step * layout.step_bytes();
    if (layout.sub_depth > 0) {
      const SubFields sub = SubFieldsOf(layout, step, fields);
      Direction::Copy(at + column, sub.first);
      Direction::Copy(at + kPanelColumns + column, sub.second);
    }
    codes(at + layout.sub_bytes(), fields->codes + step * kStepDepth);
  }
}

}  // namespace

ElementType ElementTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      break;
    case DType::kF32:
      return ElementType::kF32;
    case DType::kF16:
      return ElementType::kF16;
    case DType::kBF16:
      return ElementType::kBF16;
    case DType::kQ8_0:
      return ElementType::kQ8_0;
    case DType::kQ4_0:
      return ElementType::kQ4_0;
    case DType::kQ4_1:
      return ElementType::kQ4_1;
    case DType::kQ5_0:
      return ElementType::kQ5_0;
    case DType::kQ5_1:
      return ElementType::kQ5_1;
    case DType::kQ4_K:
      return ElementType::kQ4_K;
    case DType::kQ5_K:
      return ElementType::kQ5_K;
    case DType::kQ6_K:
      return ElementType::kQ6_K;
  }
  PREFIXD_CHECK(false);
}

void PackBlocks(DType dtype, const uint8_t* rows, int64_t count, int64_t cols, int64_t column,
                std::byte* panel) {
  const BlockLayout layout = BlockLayoutOf(ElementTypeOf(dtype));
  const int64_t block_bytes = BlockOf(dtype).bytes;
  const int64_t num_blocks = cols / layout.super_depth;
  for (int64_t block = 0; block < num_blocks; ++block) {
    std::byte* const super = panel + block * layout.super_bytes();
    for (int64_t row = 0; row < count; ++row) {
      BlockFields fields;
      UnpackBlock(dtype, rows + (row * num_blocks + block) * block_bytes, &fields);
      CopySuper<ToPanel>(layout, column + row, super, &fields,
                         [&](std::byte* step, const uint8_t* codes) {
                           PackCodes(layout, codes, column + row, step);
                         });
    }
  }
}

void ReadBlocks(DType dtype, const std::byte* panel, int64_t cols, int64_t column, float* y) {
  const BlockLayout layout = BlockLayoutOf(ElementTypeOf(dtype));
  for (int64_t block = 0; block < cols / layout.super_depth; ++block) {
    BlockFields fields;
    CopySuper<FromPanel>(
        layout, column, panel + block * layout.super_bytes(), &fields,
        [&](const std::byte* step, uint8_t* codes) { UnpackCodes(layout, step, column, codes); });
    DequantizeFields(dtype, fields, y + block * layout.super_depth);
  }
}

}  // namespace prefixd::cpu
