// Level portable: 4 lanes of the compilers' vector extension, whatever the machine's baseline makes
// of them. Without a fused multiply-add in the baseline, products are rounded before they are
// added.
#include "engine/backend/cpu/block_layout.h"
#include "engine/backend/cpu/kernels.h"

namespace prefixd::cpu {
namespace {

struct Vec {
  typedef float F __attribute__((vector_size(16)));
  typedef uint32_t Bits __attribute__((vector_size(16)));
  using U = Bits;
  static constexpr int kWidth = 4;
  // Rows against weights in blocks that are made in registers (1 or 4), and vectors of columns
  // then.
  static constexpr int kBlockRows = 1;
  static constexpr int BlockVectors(int rows) { return rows == 1 ? 4 : 2; }
  static constexpr int kAttentionRows = 3;
  // Vectors of columns, pages of slots and vectors of values per register tile of so many rows.
  static constexpr int TileVectors(int rows) { return rows == 1 ? 8 : rows == 2 ? 4 : 2; }
  static constexpr int ScorePages(int rows) { return rows == 1 ? 2 : 1; }
  static constexpr int ValueVectors(int rows) { return rows == 1 ? 8 : rows == 2 ? 4 : 2; }

  static F Zero() { return F{0, 0, 0, 0}; }
  static F Set1(float x) { return F{x, x, x, x}; }
  static F Load(const float* p) {
    F x;
    __builtin_memcpy(&x, p, sizeof(x));
    return x;
  }
  static void Store(float* p, F x) { __builtin_memcpy(p, &x, sizeof(x)); }
  static F Add(F a, F b) { return a + b; }
  static F Sub(F a, F b) { return a - b; }
  static F Mul(F a, F b) { return a * b; }
  static F Div(F a, F b) { return a / b; }
  static F Fma(F a, F b, F c) { return a * b + c; }
  // b where the two are unordered.
  static F Max(F a, F b) { return Blend(a > b, a, b); }
  static F Min(F a, F b) { return Blend(a < b, a, b); }
  static F SelectLess(F a, F b, F yes, F no) { return Blend(a < b, yes, no); }
  // Multiplies x by 2^n, where n is in the low bits of `shifted`.
  static F AddToExponent(F x, F shifted) { return F(Bits(x) + (Bits(shifted) << 23)); }
  // A binary16's exponent and mantissa, moved into a binary32's, are 2^-112 of its value.
  static F LoadF16(const uint16_t* p) {
    const Bits half = Widen(p);
    const Bits magnitude = (half & 0x7FFF) << 13;
    const Bits value = Bits(F(magnitude) * Set1(0x1p112f));
    const Bits special = Bits((half & 0x7C00) == 0x7C00);  // Infinity or NaN.
    return F((value & ~special) | ((magnitude | 0x7F800000) & special) | ((half & 0x8000) << 16));
  }
  static F LoadBF16(const uint16_t* p) { return F(Widen(p) << 16); }
  // The first or second bf16 of 4 pairs (little-endian).
  static F LoadPairsFirst(const uint16_t* p) { return F(Bits(LoadBits(p)) << 16); }
  static F LoadPairsSecond(const uint16_t* p) { return F(LoadBits(p) & 0xFFFF0000u); }

  // 4 bytes as numbers.
  static F LoadI8(const uint8_t* p) {
    return __builtin_convertvector(Ints(BytesOnTop(p)) >> 24, F);
  }
  static F LoadU8(const uint8_t* p) {
    return __builtin_convertvector(Ints(BytesOnTop(p) >> 24), F);
  }
  static U LoadWords(const std::byte* p) { return LoadBits(p); }
  static U And(U a, uint32_t b) { return a & b; }
  static U Or(U a, U b) { return a | b; }
  template <int n>
  static U ShiftLeft(U a) {
    return a << n;
  }
  template <int n>
  static U ShiftRight(U a) {
    return a >> n;
  }
  static U ShiftRightBy(U a, int n) { return a >> static_cast<uint32_t>(n); }
  // Byte b of every word.
  static F ByteToFloat(U words, int b) {
    return __builtin_convertvector(Ints((words >> static_cast<uint32_t>(8 * b)) & 255), F);
  }

 private:
  typedef int32_t Ints __attribute__((vector_size(16)));
  template <typename Mask>
  static F Blend(Mask mask, F yes, F no) {
    return F((Bits(mask) & Bits(yes)) | (~Bits(mask) & Bits(no)));
  }
  static Bits LoadBits(const void* p) {
    Bits x;
    __builtin_memcpy(&x, p, sizeof(x));
    return x;
  }
  // 4 bytes as the highest of a word each.
  static Bits BytesOnTop(const uint8_t* p) {
    typedef uint8_t Bytes __attribute__((vector_size(16)));
    typedef uint16_t Halves __attribute__((vector_size(16)));
    uint32_t four;
    __builtin_memcpy(&four, p, sizeof(four));
    const Bytes bytes = Bytes(Bits{four, 0, 0, 0}), zero = {};
    const Halves halves = Halves(__builtin_shufflevector(zero, bytes, 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                                         20, 5, 21, 6, 22, 7, 23));
    return Bits(__builtin_shufflevector(Halves(zero), halves, 0, 8, 1, 9, 2, 10, 3, 11));
  }
  static Bits Widen(const uint16_t* p) { return Bits{p[0], p[1], p[2], p[3]}; }
};

#include "engine/backend/cpu/level_kernels.inc"

}  // namespace

const Kernels& PortableKernels() { return kTable; }

}  // namespace prefixd::cpu
