// The vector dialect on AVX2 with FMA: 8 lanes. See portable.h for what each function means.
#ifndef TIERCAST_SIMD_AVX2_H_
#define TIERCAST_SIMD_AVX2_H_

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd/kernel_row.h"

namespace {

typedef __m256 V;
typedef __m256 M;  // all ones or all zeros per lane
enum { VL = 8 };

TC_INLINE __m256i first_lanes(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n > 8 ? 8 : n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

TC_INLINE V v_zero() { return _mm256_setzero_ps(); }
TC_INLINE V v_set1(float x) { return _mm256_set1_ps(x); }
TC_INLINE V v_load(const float* p) { return _mm256_loadu_ps(p); }
TC_INLINE void v_store(float* p, V v) { _mm256_storeu_ps(p, v); }
TC_INLINE V v_load_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
TC_INLINE void v_store_n(float* p, V v, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), v); }

TC_INLINE V v_add(V a, V b) { return _mm256_add_ps(a, b); }
TC_INLINE V v_sub(V a, V b) { return _mm256_sub_ps(a, b); }
TC_INLINE V v_mul(V a, V b) { return _mm256_mul_ps(a, b); }
TC_INLINE V v_div(V a, V b) { return _mm256_div_ps(a, b); }
TC_INLINE V v_fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
TC_INLINE V v_max(V a, V b) { return _mm256_max_ps(a, b); }
TC_INLINE V v_min(V a, V b) { return _mm256_min_ps(a, b); }
TC_INLINE V v_sqrt(V a) { return _mm256_sqrt_ps(a); }
TC_INLINE V v_abs(V a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
TC_INLINE V v_neg(V a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
TC_INLINE V v_floor(V a) { return _mm256_floor_ps(a); }
TC_INLINE V v_ceil(V a) { return _mm256_ceil_ps(a); }
TC_INLINE V v_trunc(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
TC_INLINE V v_round(V a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

TC_INLINE M v_lt(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
TC_INLINE M v_le(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
TC_INLINE M v_gt(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
TC_INLINE M v_ge(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
TC_INLINE M v_eq(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
TC_INLINE M v_ne(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); }
TC_INLINE M m_and(M a, M b) { return _mm256_and_ps(a, b); }
TC_INLINE M m_or(M a, M b) { return _mm256_or_ps(a, b); }
TC_INLINE M m_not(M a) { return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1))); }
TC_INLINE bool m_any(M a) { return _mm256_movemask_ps(a) != 0; }
TC_INLINE V v_select(M m, V a, V b) { return _mm256_blendv_ps(b, a, m); }

TC_INLINE float v_reduce_add(V a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
TC_INLINE float v_reduce_max(V a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
TC_INLINE float v_reduce_min(V a) { return -v_reduce_max(v_neg(a)); }
TC_INLINE void v_store_sums(float* to, const V* v) {
  const V x = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
  const V y = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
  v_store(to, _mm256_add_ps(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31)));
}

// 2^n for integral n in [-126, 127].
TC_INLINE V pow2_normal(__m256i n) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23)); }
// x * 2^n for integral n in [-252, 254], in two steps so that neither factor leaves the normal range.
TC_INLINE V v_scale2(V x, V n) {
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  return _mm256_mul_ps(_mm256_mul_ps(x, pow2_normal(half)), pow2_normal(_mm256_sub_epi32(whole, half)));
}
// The same where x and the result are normal: n is added to the exponent.
TC_INLINE V v_scale2_normal(V x, V n) {
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}
// Denormals are scaled into the normal range first.
TC_INLINE M is_denormal(V x) { return v_lt(x, _mm256_set1_ps(1.17549435e-38f)); }
TC_INLINE V made_normal(V x) { return v_select(is_denormal(x), _mm256_mul_ps(x, _mm256_set1_ps(16777216.0f)), x); }
TC_INLINE V v_exponent(V x) {
  const __m256i bits = _mm256_srli_epi32(_mm256_castps_si256(made_normal(x)), 23);
  const V e = _mm256_cvtepi32_ps(_mm256_sub_epi32(bits, _mm256_set1_epi32(126)));
  return v_sub(e, _mm256_and_ps(is_denormal(x), _mm256_set1_ps(24.0f)));
}
TC_INLINE V v_fraction(V x) {
  const __m256i bits = _mm256_and_si256(_mm256_castps_si256(made_normal(x)), _mm256_set1_epi32(0x007fffff));
  return _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x3f000000)));
}

// A register of a GEMM tile's row.
struct Full {
  typedef V T;
  enum { N = VL };
  static TC_INLINE T load(const float* p) { return v_load(p); }
  static TC_INLINE void store(float* p, T v) { v_store(p, v); }
  static TC_INLINE T set1(float x) { return v_set1(x); }
  static TC_INLINE T add(T a, T b) { return v_add(a, b); }
  static TC_INLINE T fma(T a, T b, T c) { return v_fma(a, b, c); }
  static TC_INLINE T at_least(T x, T lo) { return v_max(lo, x); }
  static TC_INLINE T clamp(T x, T lo, T hi) { return v_min(hi, v_max(lo, x)); }
  static TC_INLINE T hard_swish(T x) {
    const T gate = v_fma(x, v_set1(1.0f / 6.0f), v_set1(0.5f));
    return v_mul(x, v_min(v_set1(1.0f), v_max(v_zero(), gate)));
  }
  static TC_INLINE T prelu(T x, T slope) { return v_select(v_lt(x, v_zero()), v_mul(x, slope), x); }
};

}  // namespace

#include "simd/math.h"

#endif
