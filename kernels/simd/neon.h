// The vector dialect on NEON, AArch64 and ARMv7 (VFPv4): 4 lanes. See portable.h for what each function means.
#ifndef TIERCAST_SIMD_NEON_H_
#define TIERCAST_SIMD_NEON_H_

#include <arm_neon.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd/kernel_row.h"

namespace {

typedef float32x4_t V;
typedef uint32x4_t M;
enum { VL = 4 };

TC_INLINE V v_zero() { return vdupq_n_f32(0.0f); }
TC_INLINE V v_set1(float x) { return vdupq_n_f32(x); }
TC_INLINE V v_load(const float* p) { return vld1q_f32(p); }
TC_INLINE void v_store(float* p, V v) { vst1q_f32(p, v); }
TC_INLINE V v_load_n(const float* p, int64_t n) {
  if (n >= 4) return vld1q_f32(p);
  V v = vdupq_n_f32(0.0f);
  if (n > 0) v = vld1q_lane_f32(p, v, 0);
  if (n > 1) v = vld1q_lane_f32(p + 1, v, 1);
  if (n > 2) v = vld1q_lane_f32(p + 2, v, 2);
  return v;
}
TC_INLINE void v_store_n(float* p, V v, int64_t n) {
  if (n >= 4) {
    vst1q_f32(p, v);
    return;
  }
  if (n > 0) vst1q_lane_f32(p, v, 0);
  if (n > 1) vst1q_lane_f32(p + 1, v, 1);
  if (n > 2) vst1q_lane_f32(p + 2, v, 2);
}

TC_INLINE V v_add(V a, V b) { return vaddq_f32(a, b); }
TC_INLINE V v_sub(V a, V b) { return vsubq_f32(a, b); }
TC_INLINE V v_mul(V a, V b) { return vmulq_f32(a, b); }
TC_INLINE V v_fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
TC_INLINE V v_abs(V a) { return vabsq_f32(a); }
TC_INLINE V v_neg(V a) { return vnegq_f32(a); }

TC_INLINE M v_lt(V a, V b) { return vcltq_f32(a, b); }
TC_INLINE M v_le(V a, V b) { return vcleq_f32(a, b); }
TC_INLINE M v_gt(V a, V b) { return vcgtq_f32(a, b); }
TC_INLINE M v_ge(V a, V b) { return vcgeq_f32(a, b); }
TC_INLINE M v_eq(V a, V b) { return vceqq_f32(a, b); }
TC_INLINE M v_ne(V a, V b) { return vmvnq_u32(vceqq_f32(a, b)); }
TC_INLINE M m_and(M a, M b) { return vandq_u32(a, b); }
TC_INLINE M m_or(M a, M b) { return vorrq_u32(a, b); }
TC_INLINE M m_not(M a) { return vmvnq_u32(a); }
TC_INLINE bool m_any(M a) {
  const uint32x2_t half = vorr_u32(vget_low_u32(a), vget_high_u32(a));
  return (vget_lane_u32(half, 0) | vget_lane_u32(half, 1)) != 0;
}
TC_INLINE V v_select(M m, V a, V b) { return vbslq_f32(m, a, b); }

// As on the other ISAs, a NaN in either operand gives the second operand: hence select, not FMAX.
TC_INLINE V v_max(V a, V b) { return v_select(v_gt(a, b), a, b); }
TC_INLINE V v_min(V a, V b) { return v_select(v_lt(a, b), a, b); }

#if defined(__aarch64__)
TC_INLINE V v_div(V a, V b) { return vdivq_f32(a, b); }
TC_INLINE V v_sqrt(V a) { return vsqrtq_f32(a); }
TC_INLINE V v_floor(V a) { return vrndmq_f32(a); }
TC_INLINE V v_ceil(V a) { return vrndpq_f32(a); }
TC_INLINE V v_trunc(V a) { return vrndq_f32(a); }
TC_INLINE V v_round(V a) { return vrndnq_f32(a); }
TC_INLINE float v_reduce_add(V a) { return vaddvq_f32(a); }
TC_INLINE float v_reduce_max(V a) { return vmaxvq_f32(a); }
TC_INLINE float v_reduce_min(V a) { return vminvq_f32(a); }
TC_INLINE void v_store_sums(float* to, const V* v) { vst1q_f32(to, vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]))); }
#else
// ARMv7 NEON has no division, square root or rounding: the VFP divides exactly, rounding goes through integers.
TC_INLINE V v_div(V a, V b) {
  V q = a;
  q[0] = a[0] / b[0];
  q[1] = a[1] / b[1];
  q[2] = a[2] / b[2];
  q[3] = a[3] / b[3];
  return q;
}
TC_INLINE V v_sqrt(V a) {
  V q = a;
  q[0] = __builtin_sqrtf(a[0]);
  q[1] = __builtin_sqrtf(a[1]);
  q[2] = __builtin_sqrtf(a[2]);
  q[3] = __builtin_sqrtf(a[3]);
  return q;
}
// |a| >= 2^23, inf and NaN are integral already; the sign is kept so that -0.3 rounds to -0.
TC_INLINE V keep_integral(V a, V rounded) {
  const M small = vcltq_f32(vabsq_f32(a), vdupq_n_f32(8388608.0f));
  const M sign = vdupq_n_u32(0x80000000u);
  const V signed_result = vbslq_f32(sign, a, rounded);
  return vbslq_f32(small, signed_result, a);
}
TC_INLINE V v_trunc(V a) { return keep_integral(a, vcvtq_f32_s32(vcvtq_s32_f32(a))); }
TC_INLINE V v_floor(V a) {
  const V t = vcvtq_f32_s32(vcvtq_s32_f32(a));
  return keep_integral(a, vsubq_f32(t, vbslq_f32(vcgtq_f32(t, a), vdupq_n_f32(1.0f), vdupq_n_f32(0.0f))));
}
TC_INLINE V v_ceil(V a) { return vnegq_f32(v_floor(vnegq_f32(a))); }
TC_INLINE V v_round(V a) {
  // Adding and taking away 2^23 rounds to nearest even in the adder.
  const V magic = vdupq_n_f32(8388608.0f);
  return keep_integral(a, vsubq_f32(vaddq_f32(vabsq_f32(a), magic), magic));
}
TC_INLINE float v_reduce_add(V a) {
  const float32x2_t half = vadd_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(vpadd_f32(half, half), 0);
}
TC_INLINE float v_reduce_max(V a) {
  const float32x2_t half = vmax_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(vpmax_f32(half, half), 0);
}
TC_INLINE float v_reduce_min(V a) {
  const float32x2_t half = vmin_f32(vget_low_f32(a), vget_high_f32(a));
  return vget_lane_f32(vpmin_f32(half, half), 0);
}
TC_INLINE float32x2_t half_sums(V a) { return vadd_f32(vget_low_f32(a), vget_high_f32(a)); }
TC_INLINE void v_store_sums(float* to, const V* v) {
  vst1q_f32(to, vcombine_f32(vpadd_f32(half_sums(v[0]), half_sums(v[1])), vpadd_f32(half_sums(v[2]), half_sums(v[3]))));
}
#endif

// x * 2^n for integral n in [-252, 254], in two steps so that neither factor leaves the normal range.
TC_INLINE V pow2_normal(int32x4_t n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
TC_INLINE V v_scale2(V x, V n) {
  const int32x4_t whole = vcvtq_s32_f32(n);
  const int32x4_t half = vshrq_n_s32(whole, 1);
  return vmulq_f32(vmulq_f32(x, pow2_normal(half)), pow2_normal(vsubq_s32(whole, half)));
}
// The same where x and the result are normal: n is added to the exponent.
TC_INLINE V v_scale2_normal(V x, V n) {
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vcvtq_s32_f32(n), 23)));
}
// x = fraction * 2^exponent with fraction in [0.5, 1), for finite x > 0; denormals are scaled into the normal range first.
TC_INLINE M is_denormal(V x) { return v_lt(x, vdupq_n_f32(1.17549435e-38f)); }
TC_INLINE V made_normal(V x) { return v_select(is_denormal(x), vmulq_f32(x, vdupq_n_f32(16777216.0f)), x); }
TC_INLINE V v_exponent(V x) {
  const int32x4_t bits = vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_f32(made_normal(x)), 23));
  const V e = vcvtq_f32_s32(vsubq_s32(bits, vdupq_n_s32(126)));
  return v_sub(e, v_select(is_denormal(x), vdupq_n_f32(24.0f), vdupq_n_f32(0.0f)));
}
TC_INLINE V v_fraction(V x) {
  const uint32x4_t bits = vandq_u32(vreinterpretq_u32_f32(made_normal(x)), vdupq_n_u32(0x007fffffu));
  return vreinterpretq_f32_u32(vorrq_u32(bits, vdupq_n_u32(0x3f000000u)));
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
#if defined(__aarch64__)
  static TC_INLINE T at_least(T x, T lo) { return vmaxq_f32(lo, x); }
  static TC_INLINE T clamp(T x, T lo, T hi) { return vminq_f32(hi, vmaxq_f32(lo, x)); }  // a NaN in x stays one
#else
  static TC_INLINE T at_least(T x, T lo) { return v_max(lo, x); }
  static TC_INLINE T clamp(T x, T lo, T hi) { return v_min(hi, v_max(lo, x)); }
#endif
  static TC_INLINE T hard_swish(T x) {
    const T gate = v_fma(x, v_set1(1.0f / 6.0f), v_set1(0.5f));
    return v_mul(x, clamp(gate, v_zero(), v_set1(1.0f)));
  }
  static TC_INLINE T prelu(T x, T slope) { return v_select(v_lt(x, v_zero()), v_mul(x, slope), x); }
};

}  // namespace

#include "simd/math.h"

#endif
