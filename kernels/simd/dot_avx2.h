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
        const __m256i row = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(quad)));
        acc[i][j].low = _mm256_add_epi32(acc[i][j].low, _mm256_madd_epi16(low, row));
        acc[i][j].high = _mm256_add_epi32(acc[i][j].high, _mm256_madd_epi16(high, row));
      }
    }
  }
}

// The first `real` columns of MR rows of NV vectors, `pitch` elements apart.
template <int MR, int NV>
TC_INLINE void d_store(const tc_view& y, int64_t at, int64_t pitch, const D (&sums)[MR][NV], const float* scale, const Limits& to,
                       int64_t real) {
  for (int i = 0; i < MR; ++i) {
    for (int j = 0; j < NV; ++j) {
      int32_t whole[8];
      // Adding neighbours works on each 128 bits: bring the columns back in order.
      _mm256_storeu_si256((__m256i*)whole, _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums[i][j].low, sums[i][j].high), 0xd8));
      for (int64_t c = 0; c < 8 && j * 8 + c < real; ++c) store_sum(y, at + i * pitch + j * 8 + c, whole[c], scale[j * 8 + c], to);
    }
  }
}

}  // namespace

#endif
