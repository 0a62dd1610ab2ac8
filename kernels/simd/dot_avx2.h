// Dot products of bytes with AVX2: widened to s16, neighbouring products added to s32. Both sides signed.
#ifndef TIERCAST_SIMD_DOT_AVX2_H_
#define TIERCAST_SIMD_DOT_AVX2_H_

#include <immintrin.h>
#include <string.h>

#include "simd/dot_bytes.h"
#include "simd/kernel_row.h"
#include "simd/requantize.h"

namespace {

// Eight columns, each the sum of two lanes.
struct D {
  __m256i low, high;
};
enum { DOT_LANES = 8 };

TC_INLINE D d_start(const int32_t* bias, const int32_t*) {
  return {_mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i*)bias)), _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i*)(bias + 4)))};
}

template <int MR, int NV>
TC_INLINE void dot_multiply(D (&acc)[MR][NV], const uint8_t* a, int64_t pitch, const int8_t* b, int64_t step, int64_t quads) {
  for (; quads > 0; --quads, a += 4, b += step) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      const __m256i low = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(b + j * 32)));
      const __m256i high = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(b + j * 32 + 16)));
#pragma GCC unroll 4
      for (int i = 0; i < MR; ++i) {
        int32_t quad;
        memcpy(&quad, a + i * pitch, 4);
        const __m256i row = _mm256_cvtepi8_epi16(_mm_set1_epi32(quad));
        acc[i][j].low = _mm256_add_epi32(acc[i][j].low, _mm256_madd_epi16(low, row));
        acc[i][j].high = _mm256_add_epi32(acc[i][j].high, _mm256_madd_epi16(high, row));
      }
    }
  }
}

// Columns in order, of sums of two lanes each: adding neighbours works on each 128 bits.
TC_INLINE __m256i d_sums(const D& sums) { return _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums.low, sums.high), 0xd8); }

// The low bytes of whole numbers of s8, of eight columns.
TC_INLINE __m128i d_bytes(__m256i whole) {
  const __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
  return _mm_packs_epi16(halves, halves);
}

// The first `real` columns of MR rows of NV vectors, `pitch` elements apart.
template <int MR, int NV>
TC_INLINE void d_store(const tc_view& y, int64_t at, int64_t pitch, const D (&sums)[MR][NV], const float* scale, const Limits& to,
                       int64_t real) {
  const __m256 low = _mm256_set1_ps((float)(to.low - to.zero)), high = _mm256_set1_ps((float)(to.high - to.zero));
  const __m256i zero = _mm256_set1_epi32(to.zero);
  for (int i = 0; i < MR; ++i) {
    for (int j = 0; j < NV; ++j) {
      const int64_t n = real - j * 8 < 8 ? real - j * 8 : 8, place = at + i * pitch + j * 8;
      if (n <= 0) break;
      const __m256i whole = d_sums(sums[i][j]);
      const __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_loadu_ps(scale + j * 8));
      if (y.dtype == TC_S8) {
        const __m256 kept = _mm256_min_ps(_mm256_max_ps(scaled, low), high);  // NaN becomes low
        const int64_t bytes = _mm_cvtsi128_si64(d_bytes(_mm256_add_epi32(_mm256_cvtps_epi32(kept), zero)));
        if (n == 8) {
          memcpy((int8_t*)y.data + place, &bytes, 8);
        } else {
          memcpy((int8_t*)y.data + place, &bytes, (size_t)n);
        }
      } else if (y.dtype == TC_F32) {
        memcpy((float*)y.data + place, &scaled, (size_t)n * 4);
      } else {
        memcpy((int32_t*)y.data + place, &whole, (size_t)n * 4);
      }
    }
  }
}

}  // namespace

#endif
