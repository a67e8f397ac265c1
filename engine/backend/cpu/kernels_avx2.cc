// Level avx2 (AVX2, FMA, F16C): 8 lanes, register tiles of 6 rows x 16 columns.
#include "engine/backend/cpu/block_layout.h"
#include "engine/backend/cpu/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace prefixd::cpu {
namespace {

struct Vec {
  using F = __m256;
  using U = __m256i;
  static constexpr int kWidth = 8;
  // Rows against weights in blocks that are made in registers (1 or 4), and vectors of columns
  // then.
  static constexpr int kBlockRows = 4;
  static constexpr int BlockVectors(int rows) { return rows == 1 ? 4 : 2; }
  static constexpr int kAttentionRows = 6;
  // Vectors of columns, pages of slots and vectors of values per register tile of so many rows.
  static constexpr int TileVectors(int rows) { return rows == 1 ? 8 : rows == 2 ? 4 : 2; }
  static constexpr int ScorePages(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
  static constexpr int ValueVectors(int rows) { return rows == 1 ? 8 : rows <= 3 ? 4 : 2; }

  static F Zero() { return _mm256_setzero_ps(); }
  static F Set1(float x) { return _mm256_set1_ps(x); }
  static F Load(const float* p) { return _mm256_loadu_ps(p); }
  static void Store(float* p, F x) { _mm256_storeu_ps(p, x); }
  static F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  // b where the two are unordered.
  static F Max(F a, F b) { return _mm256_max_ps(a, b); }
  static F Min(F a, F b) { return _mm256_min_ps(a, b); }
  static F SelectLess(F a, F b, F yes, F no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  // Multiplies x by 2^n, where n is in the low bits of `shifted`.
  static F AddToExponent(F x, F shifted) {
    const __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), n));
  }
  static F LoadF16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static F LoadBF16(const uint16_t* p) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  // The first or second bf16 of 8 pairs.
  static F LoadPairsFirst(const uint16_t* p) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16));
  }
  static F LoadPairsSecond(const uint16_t* p) {
    const __m256i pairs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
    return _mm256_castsi256_ps(_mm256_and_si256(pairs, mask));
  }

  // 8 bytes as numbers.
  static F LoadI8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static F LoadU8(const uint8_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static U LoadWords(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static U And(U a, uint32_t b) {
    return _mm256_and_si256(a, _mm256_set1_epi32(static_cast<int>(b)));
  }
  static U Or(U a, U b) { return _mm256_or_si256(a, b); }
  template <int n>
  static U ShiftLeft(U a) {
    return _mm256_slli_epi32(a, n);
  }
  template <int n>
  static U ShiftRight(U a) {
    return _mm256_srli_epi32(a, n);
  }
  static U ShiftRightBy(U a, int n) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n)); }
  // Byte b of every word.
  static F ByteToFloat(U words, int b) {
    const __m256i which =
        _mm256_setr_epi32(0x80808000 + b, 0x80808004 + b, 0x80808008 + b, 0x8080800C + b,
                          0x80808000 + b, 0x80808004 + b, 0x80808008 + b, 0x8080800C + b);
    return _mm256_cvtepi32_ps(_mm256_shuffle_epi8(words, which));
  }
};

#include "engine/backend/cpu/level_kernels.inc"

}  // namespace

const Kernels& Avx2Kernels() { return kTable; }

}  // namespace prefixd::cpu

#endif
