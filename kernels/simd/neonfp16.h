// The vector dialect on ARMv8.2 half precision: 8 lanes of f16, computed in f16. See portable.h for what each function means.
// What needs more range or precision than f16 has (exponentials, sums over lanes) goes through f32, four lanes at a time.
#ifndef TIERCAST_SIMD_NEONFP16_H_
#define TIERCAST_SIMD_NEONFP16_H_

#include <arm_neon.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd/activation_rules.h"
#include "simd/kernel_row.h"

// The f32 dialect and its activations, in a namespace of their own; the headers they include are included already.
namespace single {
#include "simd/neon.h"
// clang-format off: the dialect comes first
#include "simd/activation.h"
// clang-format on
}  // namespace single
#undef TIERCAST_SIMD_ACTIVATION_H_
#define TC_SMOOTH_IN_SINGLE

namespace {

typedef float16x8_t V;
typedef uint16x8_t M;
enum { VL = 8 };

TC_INLINE V v_zero() { return vdupq_n_f16(0.0f); }
TC_INLINE V v_set1(float x) { return vdupq_n_f16((__fp16)x); }
TC_INLINE V v_load(const E* p) { return vld1q_f16(p); }
TC_INLINE void v_store(E* p, V v) { vst1q_f16(p, v); }
// Fewer than eight elements, in three moves at most.
TC_INLINE void copy_few(E* to, const E* from, int64_t n) {
  int64_t at = 0;
  if (n & 4) {
    memcpy(to, from, 8);
    at = 4;
  }
  if (n & 2) {
    memcpy(to + at, from + at, 4);
    at += 2;
  }
  if (n & 1) to[at] = from[at];
}
TC_INLINE V v_load_n(const E* p, int64_t n) {
  if (n >= 8) return vld1q_f16(p);
  __fp16 lanes[8] = {};
  copy_few(lanes, p, n);
  return vld1q_f16(lanes);
}
TC_INLINE void v_store_n(E* p, V v, int64_t n) {
  if (n >= 8) {
    vst1q_f16(p, v);
    return;
  }
  __fp16 lanes[8];
  vst1q_f16(lanes, v);
  copy_few(p, lanes, n);
}

TC_INLINE V v_add(V a, V b) { return vaddq_f16(a, b); }
TC_INLINE V v_sub(V a, V b) { return vsubq_f16(a, b); }
TC_INLINE V v_mul(V a, V b) { return vmulq_f16(a, b); }
TC_INLINE V v_div(V a, V b) { return vdivq_f16(a, b); }
TC_INLINE V v_fma(V a, V b, V c) { return vfmaq_f16(c, a, b); }
TC_INLINE V v_abs(V a) { return vabsq_f16(a); }
TC_INLINE V v_neg(V a) { return vnegq_f16(a); }

TC_INLINE M v_lt(V a, V b) { return vcltq_f16(a, b); }
TC_INLINE M v_gt(V a, V b) { return vcgtq_f16(a, b); }
TC_INLINE V v_select(M m, V a, V b) { return vbslq_f16(m, a, b); }

// As on the other ISAs, a NaN in either operand gives the second operand: hence select, not FMAX.
TC_INLINE V v_max(V a, V b) { return v_select(v_gt(a, b), a, b); }
TC_INLINE V v_min(V a, V b) { return v_select(v_lt(a, b), a, b); }

TC_INLINE float v_reduce_add(V a) { return vaddvq_f32(vaddq_f32(vcvt_f32_f16(vget_low_f16(a)), vcvt_high_f32_f16(a))); }
TC_INLINE void v_store_sums(float* to, const V* v) {
  for (int i = 0; i < VL; ++i) to[i] = v_reduce_add(v[i]);
}

// f of each half of the lanes, in f32.
template <class F>
TC_INLINE V through_single(V x, F f) {
  return vcvt_high_f16_f32(vcvt_f16_f32(f(vcvt_f32_f16(vget_low_f16(x)))), f(vcvt_high_f32_f16(x)));
}

// A register of a GEMM tile's row.
struct Full {
  typedef V T;
  enum { N = VL };
  static TC_INLINE T load(const E* p) { return v_load(p); }
  static TC_INLINE void store(E* p, T v) { v_store(p, v); }
  static TC_INLINE T set1(float x) { return v_set1(x); }
  static TC_INLINE T add(T a, T b) { return v_add(a, b); }
  static TC_INLINE T fma(T a, T b, T c) { return v_fma(a, b, c); }
  static TC_INLINE T at_least(T x, T lo) { return vmaxq_f16(lo, x); }
  static TC_INLINE T clamp(T x, T lo, T hi) { return vminq_f16(hi, vmaxq_f16(lo, x)); }  // a NaN passes
  static TC_INLINE T hard_swish(T x) { return v_mul(x, clamp(v_fma(x, v_set1(1.0f / 6.0f), v_set1(0.5f)), v_zero(), v_set1(1.0f))); }
  static TC_INLINE T prelu(T x, T slope) { return v_select(v_lt(x, v_zero()), v_mul(x, slope), x); }
};

}  // namespace

#endif
