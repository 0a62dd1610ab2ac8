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

// to[0..n) = from ^ flip; up to 63 bytes behind them may be written too.
TC_INLINE void flip_bytes(uint8_t* to, const int8_t* from, int64_t n) {
  if (n <= 16) {
    const __m128i bytes = _mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1), from);
    _mm_storeu_si128((__m128i*)to, _mm_xor_si128(bytes, _mm_set1_epi8((char)DOT_FLIP)));
    return;
  }
  const __m512i flip = _mm512_set1_epi8((char)DOT_FLIP);
  for (; n >= 64; n -= 64, from += 64, to += 64) {
    _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_loadu_si512(from), flip));
  }
  if (n <= 0) return;
  const __mmask64 some = ~0ull >> (64 - n);
  _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_maskz_loadu_epi8(some, from), flip));
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

// Stores the first n bytes. Masked stores of bytes are slow, so they are for tails.
TC_INLINE void d_put(int8_t* to, __m512i bytes, int64_t n) {
  if (n >= 64) {
    _mm512_storeu_si512(to, bytes);
  } else {
    _mm512_mask_storeu_epi8(to, ~0ull >> (64 - n), bytes);
  }
}
TC_INLINE void d_put(int8_t* to, __m256i bytes, int64_t n) {
  if (n >= 32) {
    _mm256_storeu_si256((__m256i*)to, bytes);
  } else {
    _mm256_mask_storeu_epi8(to, ~0u >> (32 - n), bytes);
  }
}
TC_INLINE void d_put(int8_t* to, __m128i bytes, int64_t n) {
  if (n >= 16) {
    _mm_storeu_si128((__m128i*)to, bytes);
  } else {
    _mm_mask_storeu_epi8(to, (__mmask16)((1u << n) - 1), bytes);
  }
}

// s8 of four vectors of sums, in order; saturation makes NaN and what is far too small the least value. scale: of PERIOD vectors.
template <int PERIOD>
TC_INLINE __m512i d_narrow(const __m512i& s0, const __m512i& s1, const __m512i& s2, const __m512i& s3, const float* scale,
                           const Limits& to) {
  const __m512 high = _mm512_set1_ps((float)(to.high - to.zero));
  const __m512i zero = _mm512_set1_epi16((short)to.zero);
  const __m512i sums[4] = {s0, s1, s2, s3};
  __m512i whole[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[j]), _mm512_loadu_ps(scale + j % PERIOD * DOT_LANES));
    whole[j] = _mm512_cvtps_epi32(_mm512_min_ps(high, scaled));
  }
  const __m512i a = _mm512_adds_epi16(_mm512_packs_epi32(whole[0], whole[1]), zero);
  const __m512i b = _mm512_adds_epi16(_mm512_packs_epi32(whole[2], whole[3]), zero);
  // Packing works on each 128 bits: bring the vectors back in order.
  const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
  const __m512i bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(a, b));
  return _mm512_min_epi8(_mm512_max_epi8(bytes, _mm512_set1_epi8((char)to.low)), _mm512_set1_epi8((char)to.high));
}

TC_INLINE void d_store_one(const tc_view& y, int64_t at, D sums, const float* scale, const Limits& to, int64_t n) {
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
  d_put((int8_t*)y.data + at, _mm512_cvtepi32_epi8(whole), n);
}

// The first `real` columns of MR rows of NV vectors, `pitch` elements apart.
template <int MR, int NV>
TC_INLINE void d_store(const tc_view& y, int64_t at, int64_t pitch, const D (&sums)[MR][NV], const float* scale, const Limits& to,
                       int64_t real) {
  int i = 0;
  if constexpr (NV == 4) {
    if (y.dtype == TC_S8) {
#pragma GCC unroll 16
      for (int r = 0; r < MR; ++r) {
        d_put((int8_t*)y.data + at + r * pitch, d_narrow<4>(sums[r][0], sums[r][1], sums[r][2], sums[r][3], scale, to), real);
      }
      return;
    }
  }
  if constexpr (NV == 2 && MR >= 2) {
    if (y.dtype == TC_S8) {
#pragma GCC unroll 8
      for (; i + 2 <= MR; i += 2) {
        const __m512i bytes = d_narrow<2>(sums[i][0], sums[i][1], sums[i + 1][0], sums[i + 1][1], scale, to);
        int8_t* row = (int8_t*)y.data + at + i * pitch;
        d_put(row, _mm512_castsi512_si256(bytes), real);
        d_put(row + pitch, _mm512_extracti64x4_epi64(bytes, 1), real);
      }
    }
  }
  if constexpr (NV == 1 && MR >= 4) {
    if (y.dtype == TC_S8) {
#pragma GCC unroll 4
      for (; i + 4 <= MR; i += 4) {
        const __m512i bytes = d_narrow<1>(sums[i][0], sums[i + 1][0], sums[i + 2][0], sums[i + 3][0], scale, to);
        int8_t* row = (int8_t*)y.data + at + i * pitch;
        d_put(row, _mm512_castsi512_si128(bytes), real);
        d_put(row + pitch, _mm512_extracti32x4_epi32(bytes, 1), real);
        d_put(row + 2 * pitch, _mm512_extracti32x4_epi32(bytes, 2), real);
        d_put(row + 3 * pitch, _mm512_extracti32x4_epi32(bytes, 3), real);
      }
    }
  }
#pragma GCC unroll 16
  for (; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) {
      const int64_t left = real - j * DOT_LANES;
      if (left <= 0) break;
      d_store_one(y, at + i * pitch + j * DOT_LANES, sums[i][j], scale + j * DOT_LANES, to, left < DOT_LANES ? left : DOT_LANES);
    }
  }
}

}  // namespace

#endif
