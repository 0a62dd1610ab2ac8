// The vector dialect on AVX-512 (F, BW, DQ, VL): 16 lanes. See portable.h for what each function means.
#ifndef TIERCAST_SIMD_AVX512_H_
#define TIERCAST_SIMD_AVX512_H_

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd/kernel_row.h"

namespace {

typedef __m512 V;
typedef __mmask16 M;
enum { VL = 16 };

TC_INLINE M m_first(int64_t n) { return (M)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1u); }

TC_INLINE V v_zero() { return _mm512_setzero_ps(); }
TC_INLINE V v_set1(float x) { return _mm512_set1_ps(x); }
TC_INLINE V v_load(const float* p) { return _mm512_loadu_ps(p); }
TC_INLINE void v_store(float* p, V v) { _mm512_storeu_ps(p, v); }
TC_INLINE V v_load_n(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(m_first(n), p); }
TC_INLINE void v_store_n(float* p, V v, int64_t n) { _mm512_mask_storeu_ps(p, m_first(n), v); }

TC_INLINE V v_add(V a, V b) { return _mm512_add_ps(a, b); }
TC_INLINE V v_sub(V a, V b) { return _mm512_sub_ps(a, b); }
TC_INLINE V v_mul(V a, V b) { return _mm512_mul_ps(a, b); }
TC_INLINE V v_div(V a, V b) { return _mm512_div_ps(a, b); }
TC_INLINE V v_fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
TC_INLINE V v_max(V a, V b) { return _mm512_max_ps(a, b); }
TC_INLINE V v_min(V a, V b) { return _mm512_min_ps(a, b); }
TC_INLINE V v_sqrt(V a) { return _mm512_sqrt_ps(a); }
TC_INLINE V v_abs(V a) { return _mm512_abs_ps(a); }
TC_INLINE V v_neg(V a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
TC_INLINE V v_floor(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
TC_INLINE V v_ceil(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
TC_INLINE V v_trunc(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
TC_INLINE V v_round(V a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

TC_INLINE M v_lt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
TC_INLINE M v_le(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
TC_INLINE M v_gt(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
TC_INLINE M v_ge(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
TC_INLINE M v_eq(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
TC_INLINE M v_ne(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
TC_INLINE M m_and(M a, M b) { return (M)(a & b); }
TC_INLINE M m_or(M a, M b) { return (M)(a | b); }
TC_INLINE M m_not(M a) { return (M)~a; }
TC_INLINE bool m_any(M a) { return a != 0; }
TC_INLINE V v_select(M m, V a, V b) { return _mm512_mask_blend_ps(m, b, a); }

TC_INLINE float v_reduce_add(V a) { return _mm512_reduce_add_ps(a); }
TC_INLINE float v_reduce_max(V a) { return _mm512_reduce_max_ps(a); }
TC_INLINE float v_reduce_min(V a) { return _mm512_reduce_min_ps(a); }

TC_INLINE V add_halves(V a, V b) { return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd)); }
// In each 128-bit part: the sums of that part of v[0], v[1], v[2], v[3].
TC_INLINE V sum_parts(const V* v) {
  const V x = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
  const V y = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
  return _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xee));
}
TC_INLINE void v_store_sums(float* to, const V* v) {
  v_store(to, add_halves(add_halves(sum_parts(v), sum_parts(v + 4)), add_halves(sum_parts(v + 8), sum_parts(v + 12))));
}

// x * 2^n for integral n, right through overflow to inf and down to denormals.
TC_INLINE V v_scale2(V x, V n) { return _mm512_scalef_ps(x, n); }
TC_INLINE V v_scale2_normal(V x, V n) { return v_scale2(x, n); }
// x = fraction * 2^exponent with fraction in [0.5, 1), for finite x > 0 (denormals too).
TC_INLINE V v_exponent(V x) { return _mm512_add_ps(_mm512_getexp_ps(x), _mm512_set1_ps(1.0f)); }
TC_INLINE V v_fraction(V x) { return _mm512_getmant_ps(x, _MM_MANT_NORM_p5_1, _MM_MANT_SIGN_src); }

// A register of a GEMM tile's row: the full 16 lanes, or 8 for thin panels (two 8-lane FMAs a cycle cost what one of 16 does).
struct Full {
  typedef __m512 T;
  enum { N = 16 };
  static TC_INLINE T load(const float* p) { return _mm512_loadu_ps(p); }
  static TC_INLINE void store(float* p, T v) { _mm512_storeu_ps(p, v); }
  static TC_INLINE T set1(float x) { return _mm512_set1_ps(x); }
  static TC_INLINE T add(T a, T b) { return _mm512_add_ps(a, b); }
  static TC_INLINE T fma(T a, T b, T c) { return _mm512_fmadd_ps(a, b, c); }
  static TC_INLINE T at_least(T x, T lo) { return _mm512_max_ps(lo, x); }
  static TC_INLINE T clamp(T x, T lo, T hi) { return _mm512_min_ps(hi, _mm512_max_ps(lo, x)); }
  static TC_INLINE T hard_swish(T x) {
    const T gate = v_fma(x, v_set1(1.0f / 6.0f), v_set1(0.5f));
    return v_mul(x, v_min(v_set1(1.0f), v_max(v_zero(), gate)));
  }
  static TC_INLINE T prelu(T x, T slope) { return _mm512_mask_mul_ps(x, v_lt(x, v_zero()), x, slope); }
};
struct Thin {
  typedef __m256 T;
  enum { N = 8 };
  static TC_INLINE T load(const float* p) { return _mm256_loadu_ps(p); }
  static TC_INLINE void store(float* p, T v) { _mm256_storeu_ps(p, v); }
  static TC_INLINE T set1(float x) { return _mm256_set1_ps(x); }
  static TC_INLINE T add(T a, T b) { return _mm256_add_ps(a, b); }
  static TC_INLINE T fma(T a, T b, T c) { return _mm256_fmadd_ps(a, b, c); }
  static TC_INLINE T clamp(T x, T lo, T hi) { return _mm256_min_ps(hi, _mm256_max_ps(lo, x)); }
  static TC_INLINE T hard_swish(T x) {
    const T gate = _mm256_fmadd_ps(x, set1(1.0f / 6.0f), set1(0.5f));
    return _mm256_mul_ps(x, clamp(gate, _mm256_setzero_ps(), set1(1.0f)));
  }
  static TC_INLINE T prelu(T x, T slope) { return _mm256_mask_mul_ps(x, _mm256_cmp_ps_mask(x, _mm256_setzero_ps(), _CMP_LT_OQ), x, slope); }
};

}  // namespace

#include "simd/math.h"

#endif
