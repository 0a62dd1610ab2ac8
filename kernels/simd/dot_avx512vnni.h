// Dot products of bytes with AVX512-VNNI: 16 columns a vector; rows are unsigned (u8 = s8 xor 0x80), weights signed.
#ifndef TIERCAST_SIMD_DOT_AVX512VNNI_H_
#define TIERCAST_SIMD_DOT_AVX512VNNI_H_

#include <immintrin.h>
#include <string.h>

#include "simd/kernel_row.h"
#include "simd/requantize.h"

namespace {

typedef __m512i D;
enum { DOT_LANES = 16, DOT_FLIP = 0x80 };

// to[0..n) = from ^ flip.
TC_INLINE void flip_bytes(uint8_t* to, const int8_t* from, int64_t n) {
  const __m512i flip = _mm512_set1_epi8((char)DOT_FLIP);
  for (; n >= 64; n -= 64, from += 64, to += 64) {
    _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_loadu_si512(from), flip));
  }
  if (n <= 0) return;
  const __mmask64 some = ~0ull >> (64 - n);
  _mm512_mask_storeu_epi8(to, some, _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, from), flip));
}

TC_INLINE void fill_bytes(uint8_t* to, int64_t n, uint8_t value) { memset(to, value, (size_t)n); }

// Bias less what the flipped rows add: 128 times the weights.
TC_INLINE D d_start(const int32_t* bias, const int32_t* sums) {
  return _mm512_sub_epi32(_mm512_loadu_si512(bias), _mm512_slli_epi32(_mm512_loadu_si512(sums), 7));
}

template <int MR, int NV>
TC_INLINE void dot_multiply(D (&acc)[MR][NV], const uint8_t* a, int64_t pitch, const int8_t* b, int64_t step, int64_t quads) {
  for (; quads > 0; --quads, a += 4, b += step) {
    D columns[NV];
#pragma GCC unroll 16
    for (int j = 0; j < NV; ++j) columns[j] = _mm512_loadu_si512(b + j * 64);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      int32_t quad;
      memcpy(&quad, a + i * pitch, 4);
      const D row = _mm512_set1_epi32(quad);
#pragma GCC unroll 16
      for (int j = 0; j < NV; ++j) acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], row, columns[j]);
    }
  }
}

TC_INLINE void d_store(const tc_view& y, int64_t at, D sums, const float* scale, const Limits& to, int64_t n) {
  const __mmask16 some = (__mmask16)((1u << n) - 1);
  if (y.dtype == TC_S32) {
    _mm512_mask_storeu_epi32((int32_t*)y.data + at, some, sums);
    return;
  }
  const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(scale));
  if (y.dtype == TC_F32) {
    _mm512_mask_storeu_ps((float*)y.data + at, some, scaled);
    return;
  }
  const __m512 low = _mm512_set1_ps((float)(to.low - to.zero)), high = _mm512_set1_ps((float)(to.high - to.zero));
  const __m512 kept = _mm512_min_ps(_mm512_max_ps(scaled, low), high);  // NaN becomes low
  const __m512i whole = _mm512_add_epi32(_mm512_cvtps_epi32(kept), _mm512_set1_epi32(to.zero));
  _mm512_mask_cvtepi32_storeu_epi8((int8_t*)y.data + at, some, whole);
}

}  // namespace

#endif
