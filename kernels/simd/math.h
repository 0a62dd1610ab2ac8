// Transcendental functions over the primitives of one ISA; relative error about 1e-7 (2-3 ulp), right at 0, inf and NaN.
// Included at the end of avx2.h, avx512.h and neon.h. The polynomials are least-squares fits weighted by the relative error.
#ifndef TIERCAST_SIMD_MATH_H_
#define TIERCAST_SIMD_MATH_H_

namespace {

// e^r - 1 for |r| <= ln2/2, and e^x = 2^n * e^r with r = x - n ln2 in two parts (Cody and Waite).
TC_INLINE V exp_tail(V r) {
  V p = v_set1(1.9875691500e-4f);
  p = v_fma(p, r, v_set1(1.3981999507e-3f));
  p = v_fma(p, r, v_set1(8.3334519073e-3f));
  p = v_fma(p, r, v_set1(4.1665795894e-2f));
  p = v_fma(p, r, v_set1(1.6666665459e-1f));
  p = v_fma(p, r, v_set1(5.0000001201e-1f));
  return v_fma(v_mul(r, r), p, r);
}
TC_INLINE V exp_steps(V x) { return v_round(v_mul(x, v_set1(1.44269504088896341f))); }
TC_INLINE V exp_rest(V x, V n) { return v_fma(n, v_set1(2.12194440e-4f), v_fma(n, v_set1(-0.693359375f), x)); }
// Keeps x where 2^n is representable in v_scale2; a NaN passes.
TC_INLINE V exp_domain(V x) { return v_min(v_set1(89.0f), v_max(v_set1(-105.0f), x)); }

TC_INLINE V v_exp(V x) {
  const V inside = exp_domain(x);
  const V n = exp_steps(inside);
  return v_scale2(v_add(exp_tail(exp_rest(inside, n)), v_set1(1.0f)), n);
}

// e^x for x <= 0, where nothing depends on what is below 2^-125; a NaN stays one.
TC_INLINE V v_exp_below(V x) {
  const V inside = v_max(v_set1(-87.0f), x);
  const V n = exp_steps(inside);
  return v_scale2_normal(v_add(exp_tail(exp_rest(inside, n)), v_set1(1.0f)), n);
}

TC_INLINE V v_expm1(V x) {
  const V near_zero = exp_tail(x);
  return v_select(v_le(v_abs(x), v_set1(0.34657f)), near_zero, v_sub(v_exp(x), v_set1(1.0f)));
}

// Cephes logf: x = 2^e * m, m in [sqrt(1/2), sqrt(2)).
TC_INLINE V v_log(V x) {
  V e = v_exponent(x);
  V m = v_fraction(x);
  const M low = v_lt(m, v_set1(0.707106781186547524f));
  e = v_select(low, v_sub(e, v_set1(1.0f)), e);
  m = v_sub(v_select(low, v_add(m, m), m), v_set1(1.0f));
  const V z = v_mul(m, m);
  V p = v_set1(7.0376836292e-2f);
  p = v_fma(p, m, v_set1(-1.1514610310e-1f));
  p = v_fma(p, m, v_set1(1.1676998740e-1f));
  p = v_fma(p, m, v_set1(-1.2420140846e-1f));
  p = v_fma(p, m, v_set1(1.4249322787e-1f));
  p = v_fma(p, m, v_set1(-1.6668057665e-1f));
  p = v_fma(p, m, v_set1(2.0000714765e-1f));
  p = v_fma(p, m, v_set1(-2.4999993993e-1f));
  p = v_fma(p, m, v_set1(3.3333331174e-1f));
  V y = v_mul(v_mul(p, m), z);
  y = v_fma(e, v_set1(-2.12194440e-4f), y);
  y = v_fma(v_set1(-0.5f), z, y);
  V result = v_fma(e, v_set1(0.693359375f), v_add(m, y));
  const V inf = v_set1(HUGE_VALF);
  result = v_select(v_eq(x, inf), inf, result);
  result = v_select(v_eq(x, v_zero()), v_neg(inf), result);
  return v_select(v_ge(x, v_zero()), result, v_set1(__builtin_nanf("")));
}

// log(1 + x) without the loss of x's low bits: log(u) * x / (u - 1) with u = 1 + x rounded (Kahan).
TC_INLINE V v_log1p(V x) {
  const V one = v_set1(1.0f);
  const V u = v_add(one, x);
  const V exact = v_div(v_mul(v_log(u), x), v_sub(u, one));
  const V tiny = v_select(v_eq(u, one), x, exact);
  return v_select(v_eq(u, v_set1(HUGE_VALF)), u, tiny);
}

TC_INLINE V v_sigmoid(V x) {
  const V one = v_set1(1.0f);
  return v_div(one, v_add(one, v_exp(v_neg(x))));
}

TC_INLINE V v_tanh(V x) {
  const V size = v_abs(x);
  const V z = v_mul(x, x);
  V p = v_set1(2.2693295031785965e-3f);
  p = v_fma(p, z, v_set1(-8.322987705469131e-3f));
  p = v_fma(p, z, v_set1(2.1762417629361153e-2f));
  p = v_fma(p, z, v_set1(-5.395844578742981e-2f));
  p = v_fma(p, z, v_set1(1.333329975605011e-1f));
  p = v_fma(p, z, v_set1(-3.333333432674408e-1f));
  const V near_zero = v_fma(v_mul(p, z), x, x);
  const V one = v_set1(1.0f);
  const V far = v_sub(one, v_div(v_set1(2.0f), v_add(v_exp(v_add(size, size)), one)));
  const V signed_far = v_select(v_lt(x, v_zero()), v_neg(far), far);
  return v_select(v_lt(size, v_set1(0.632f)), near_zero, signed_far);
}

TC_INLINE V v_erf(V x) {
  const V size = v_abs(x);
  const V z = v_mul(x, x);
  V p = v_set1(7.853903662180528e-5f);
  p = v_fma(p, z, v_set1(-8.010206511244178e-4f));
  p = v_fma(p, z, v_set1(5.188329145312309e-3f));
  p = v_fma(p, z, v_set1(-2.6853812858462334e-2f));
  p = v_fma(p, z, v_set1(1.128358542919159e-1f));
  p = v_fma(p, z, v_set1(-3.761262595653534e-1f));
  p = v_fma(p, z, v_set1(1.1283791065216064f));
  const V near_zero = v_mul(p, x);
  // erfc(s) = e^(-s^2) q(t), t = 1 / (1 + s/2), for s in [0.9, 4.2]; erf is 1 in f32 beyond.
  const V one = v_set1(1.0f);
  const V s = v_min(v_set1(4.2f), size);
  const V t = v_div(one, v_fma(s, v_set1(0.5f), one));
  V q = v_set1(-5.498550087213516e-2f);
  q = v_fma(q, t, v_set1(-5.177856957e-2f));
  q = v_fma(q, t, v_set1(3.954736888408661e-1f));
  q = v_fma(q, t, v_set1(1.0767261683940887e-1f));
  q = v_fma(q, t, v_set1(3.2818350195884705e-1f));
  q = v_fma(q, t, v_set1(2.7418795228004456e-1f));
  q = v_fma(q, t, v_set1(5.568703636527061e-4f));
  const V far = v_sub(one, v_mul(v_exp(v_neg(v_mul(s, s))), q));
  const V signed_far = v_select(v_lt(x, v_zero()), v_neg(far), far);
  // `<` is false for NaN, and x * 0 + far keeps it one.
  return v_select(v_lt(size, one), near_zero, v_select(v_eq(x, x), signed_far, x));
}

// Applies a scalar function lane by lane: for what no row needs fast.
template <class F>
TC_INLINE V v_map(V x, F f) {
  float lanes[VL];
  v_store(lanes, x);
  for (int i = 0; i < VL; ++i) lanes[i] = f(lanes[i]);
  return v_load(lanes);
}
template <class F>
TC_INLINE V v_map2(V x, V y, F f) {
  float a[VL], b[VL];
  v_store(a, x);
  v_store(b, y);
  for (int i = 0; i < VL; ++i) a[i] = f(a[i], b[i]);
  return v_load(a);
}

}  // namespace

#endif
