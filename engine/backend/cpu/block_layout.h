// Where the fields of weights in blocks lie in a panel of 64 outputs (columns). Constants only, for
// the kernels too (see kernels.h).
//
// A panel is a sequence of supers of 32 values of k, or of 256 for the K types:
//
//   super = d f16 [64], m f16 [64] where there is one, and its steps of 32 values of k each
//   step  = sub-scales u8 [2][64] (Q4_K, Q5_K: scale and minimum; Q6_K: those of k 0..15, 16..31),
//           codes
//   codes = Q8_0:   i8 [32][64]
//           others: u32 [4][64] of 8 values of k each: byte b has the low four bits of the codes of
//                   k = b and, above them, of k = 4 + b
//                   and the codes' higher bits: u32 [1 or 2][64], see HighBits
//
// Bytes per 32 weights: Q8_0 34, Q4_0 18, Q4_1 20, Q5_0 22, Q5_1 24, as in a file; Q4_K 18.5 (file:
// 18), Q5_K 22.5 (22), Q6_K 26.25 (26.25).
#ifndef PREFIXD_ENGINE_BACKEND_CPU_BLOCK_LAYOUT_H_
#define PREFIXD_ENGINE_BACKEND_CPU_BLOCK_LAYOUT_H_

#include <cstdint>

#include "engine/backend/cpu/kernels.h"

namespace prefixd::cpu {

inline constexpr int kStepDepth = 32;
inline constexpr int kGroupDepth = 8;  // Values of k that share a word.

struct BlockLayout {
  int super_depth = 0;   // 0: not a type in blocks.
  int code_bits = 0;     // 4, 5, 6 or 8.
  int offset = 0;        // value = scale * (code - offset), or, with a minimum,
  bool has_min = false;  // value = scale * code + minimum.
  int sub_depth = 0;     // Values of k of a sub-scale; 0: none.

  constexpr int header_bytes() const { return (has_min ? 4 : 2) * kPanelColumns; }
  constexpr int sub_bytes() const { return sub_depth == 0 ? 0 : 2 * kPanelColumns; }
  constexpr int low_bytes() const { return (code_bits == 8 ? 32 : 16) * kPanelColumns; }
  constexpr int high_bytes() const {
    return code_bits == 8 ? 0 : (code_bits - 4) * 4 * kPanelColumns;
  }
  constexpr int step_bytes() const { return sub_bytes() + low_bytes() + high_bytes(); }
  constexpr int super_bytes() const {
    return header_bytes() + super_depth / kStepDepth * step_bytes();
  }
};

// The higher bits of the codes of group g (0..3) of a step begin at bit `shift` of each byte of
// word `word`: those of k = b in byte b, then those of k = 4 + b.
struct HighBits {
  int word = 0;
  int shift = 0;
};
constexpr HighBits HighBitsOf(int code_bits, int group) {
  const int bit = 2 * (code_bits - 4) * group;
  return {bit / 8, bit % 8};
}

constexpr BlockLayout BlockLayoutOf(ElementType type) {
  switch (type) {
    case ElementType::kQ8_0:
      return {32, 8, 0, false, 0};
    case ElementType::kQ4_0:
      return {32, 4, 8, false, 0};
    case ElementType::kQ4_1:
      return {32, 4, 0, true, 0};
    case ElementType::kQ5_0:
      return {32, 5, 16, false, 0};
    case ElementType::kQ5_1:
      return {32, 5, 0, true, 0};
    case ElementType::kQ4_K:
      return {256, 4, 0, true, 32};
    case ElementType::kQ5_K:
      return {256, 5, 0, true, 32};
    case ElementType::kQ6_K:
      return {256, 6, 32, false, 16};
    default:
      return {};
  }
}

}  // namespace prefixd::cpu

#endif  // PREFIXD_ENGINE_BACKEND_CPU_BLOCK_LAYOUT_H_
