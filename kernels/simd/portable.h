// The vector dialect in plain C: one lane, libm. The reference that every other row is compared with.
#ifndef TIERCAST_SIMD_PORTABLE_H_
#define TIERCAST_SIMD_PORTABLE_H_

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "simd/kernel_row.h"

namespace {

typedef float V;  // VL lanes
typedef bool M;   // a lane mask
enum { VL = 1 };

TC_INLINE V v_zero() { return 0.0f; }
TC_INLINE V v_set1(float x) { return x; }
TC_INLINE V v_load(const E* p) { return *p; }
TC_INLINE void v_store(E* p, V v) { *p = v; }
TC_INLINE V v_load_n(const E* p, int64_t n) { return n > 0 ? *p : 0.0f; }
TC_INLINE void v_store_n(E* p, V v, int64_t n) {
  if (n > 0) *p = v;
}

TC_INLINE V v_add(V a, V b) { return a + b; }
TC_INLINE V v_sub(V a, V b) { return a - b; }
TC_INLINE V v_mul(V a, V b) { return a * b; }
TC_INLINE V v_div(V a, V b) { return a / b; }
TC_INLINE V v_fma(V a, V b, V c) { return a * b + c; }
TC_INLINE V v_max(V a, V b) { return a > b ? a : b; }
TC_INLINE V v_min(V a, V b) { return a < b ? a : b; }
TC_INLINE V v_sqrt(V a) { return sqrtf(a); }
TC_INLINE V v_abs(V a) { return fabsf(a); }
TC_INLINE V v_neg(V a) { return -a; }
TC_INLINE V v_floor(V a) { return floorf(a); }
TC_INLINE V v_ceil(V a) { return ceilf(a); }
TC_INLINE V v_trunc(V a) { return truncf(a); }
TC_INLINE V v_round(V a) { return rintf(a); }

TC_INLINE M v_lt(V a, V b) { return a < b; }
TC_INLINE M v_le(V a, V b) { return a <= b; }
TC_INLINE M v_gt(V a, V b) { return a > b; }
TC_INLINE M v_ge(V a, V b) { return a >= b; }
TC_INLINE M v_eq(V a, V b) { return a == b; }
TC_INLINE M v_ne(V a, V b) { return a != b; }
TC_INLINE M m_and(M a, M b) { return a && b; }
TC_INLINE M m_or(M a, M b) { return a || b; }
TC_INLINE M m_not(M a) { return !a; }
TC_INLINE bool m_any(M a) { return a; }
TC_INLINE V v_select(M m, V a, V b) { return m ? a : b; }

TC_INLINE float v_reduce_add(V a) { return a; }
TC_INLINE float v_reduce_max(V a) { return a; }
TC_INLINE float v_reduce_min(V a) { return a; }
// to[i] = the sum of v[i]'s lanes, for VL vectors.
TC_INLINE void v_store_sums(float* to, const V* v) { *to = v[0]; }

TC_INLINE V v_exp(V x) { return expf(x); }
TC_INLINE V v_expm1(V x) { return expm1f(x); }
TC_INLINE V v_log(V x) { return logf(x); }
TC_INLINE V v_log1p(V x) { return log1pf(x); }
TC_INLINE V v_tanh(V x) { return tanhf(x); }
TC_INLINE V v_sigmoid(V x) { return 1.0f / (1.0f + expf(-x)); }
TC_INLINE V v_erf(V x) { return erff(x); }

// Applies a scalar function lane by lane: for what no row needs fast.
template <class F>
TC_INLINE V v_map(V x, F f) {
  return f(x);
}
template <class F>
TC_INLINE V v_map2(V x, V y, F f) {
  return f(x, y);
}

}  // namespace

#endif
