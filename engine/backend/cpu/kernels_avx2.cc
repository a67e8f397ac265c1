// Level avx2 (AVX2, FMA, F16C): 8 lanes, register tiles of 6 rows x 16 columns.
#include "engine/backend/cpu/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace prefixd::cpu {
namespace {

struct Vec {
  using F = __m256;
  static constexpr int kWidth = 8;
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
};

#include "engine/backend/cpu/level_kernels.inc"

}  // namespace

const Kernels& Avx2Kernels() { return kTable; }

}  // namespace prefixd::cpu

#endif
