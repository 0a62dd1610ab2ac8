// Activations as a run-time switch: a kernel calls it once per vector of its result. Include one ISA's header before.
#ifndef TIERCAST_SIMD_ACTIVATION_H_
#define TIERCAST_SIMD_ACTIVATION_H_

#include "simd/activation_rules.h"

namespace {

#if defined(TC_SMOOTH_IN_SINGLE)
// f16 has neither the range nor the precision for exponentials.
TC_NOINLINE void activate_smooth(V* x, int count, int activation, float alpha) {
  for (int i = 0; i < count; ++i) {
    x[i] = through_single(x[i], [=](single::V part) {
      single::activate_smooth(&part, 1, activation, alpha);
      return part;
    });
  }
}
#else
// ln(1 + e^x), by the larger term so that neither overflows.
TC_INLINE V v_softplus(V x) { return v_add(v_max(v_zero(), x), v_log1p(v_exp(v_neg(v_abs(x))))); }

// x tanh(softplus(x)) = x n / (n + 2), n = e^x (e^x + 2); for x > 20 it is x in f32.
TC_INLINE V v_mish(V x) {
  const V e = v_exp(v_min(v_set1(20.0f), x));
  const V n = v_mul(e, v_add(e, v_set1(2.0f)));
  return v_select(v_gt(x, v_set1(20.0f)), x, v_div(v_mul(x, n), v_add(n, v_set1(2.0f))));
}

TC_INLINE V v_gelu(V x) {
  const V half = v_mul(x, v_set1(0.5f));
  return v_fma(half, v_erf(v_mul(x, v_set1(0.70710678118654752f))), half);
}

TC_INLINE V v_gelu_tanh(V x) {
  const V half = v_mul(x, v_set1(0.5f));
  const V cube = v_mul(v_mul(x, x), x);
  const V inner = v_mul(v_set1(0.79788456080286536f), v_fma(cube, v_set1(0.044715f), x));
  return v_fma(half, v_tanh(inner), half);
}

template <class F>
TC_INLINE void apply(V* x, int count, F f) {
#pragma clang loop unroll(disable)
  for (int i = 0; i < count; ++i) x[i] = f(x[i]);
}

// Activations that need exp and the like, of `count` vectors: one out-of-line function per row, since they would fill the caller's code,
// and several vectors a call, since each loop loads its constants once.
TC_NOINLINE void activate_smooth(V* x, int count, int activation, float alpha) {
  switch (activation) {
    case TC_ACTIVATION_ELU:
      return apply(x, count, [=](V v) TC_LAMBDA_INLINE { return v_select(v_gt(v, v_zero()), v, v_mul(v_set1(alpha), v_expm1(v))); });
    case TC_ACTIVATION_SIGMOID:
      return apply(x, count, [](V v) TC_LAMBDA_INLINE { return v_sigmoid(v); });
    case TC_ACTIVATION_TANH:
      return apply(x, count, [](V v) TC_LAMBDA_INLINE { return v_tanh(v); });
    case TC_ACTIVATION_SILU:
      return apply(x, count, [](V v) TC_LAMBDA_INLINE { return v_div(v, v_add(v_set1(1.0f), v_exp(v_neg(v)))); });
    case TC_ACTIVATION_GELU:
      return apply(x, count, [](V v) TC_LAMBDA_INLINE { return v_gelu(v); });
    case TC_ACTIVATION_GELU_TANH:
      return apply(x, count, [](V v) TC_LAMBDA_INLINE { return v_gelu_tanh(v); });
    case TC_ACTIVATION_MISH:
      return apply(x, count, [](V v) TC_LAMBDA_INLINE { return v_mish(v); });
    case TC_ACTIVATION_SOFTPLUS:
      return apply(x, count, [](V v) TC_LAMBDA_INLINE { return v_softplus(v); });
    default:
      return;
  }
}
#endif

// y = activation(x). `slope` is read by prelu only; alpha and beta: clip's bounds, hard_sigmoid's line, leaky_relu's and elu's alpha.
TC_INLINE V activate(V x, V slope, int activation, float alpha, float beta) {
  switch (activation) {
    case TC_ACTIVATION_NONE:
      return x;
    case TC_ACTIVATION_RELU:
      return v_max(v_zero(), x);
    case TC_ACTIVATION_CLIP:
      return v_min(v_set1(beta), v_max(v_set1(alpha), x));
    case TC_ACTIVATION_LEAKY_RELU:
      return v_select(v_lt(x, v_zero()), v_mul(x, v_set1(alpha)), x);
    case TC_ACTIVATION_PRELU:
      return v_select(v_lt(x, v_zero()), v_mul(x, slope), x);
    case TC_ACTIVATION_HARD_SWISH: {
      const V gate = v_fma(x, v_set1(1.0f / 6.0f), v_set1(0.5f));
      return v_mul(x, v_min(v_set1(1.0f), v_max(v_zero(), gate)));
    }
    case TC_ACTIVATION_HARD_SIGMOID:
      return v_min(v_set1(1.0f), v_max(v_zero(), v_fma(x, v_set1(alpha), v_set1(beta))));
    default:
      activate_smooth(&x, 1, activation, alpha);
      return x;
  }
}

TC_INLINE bool is_smooth(int activation) {
  return activation == TC_ACTIVATION_ELU ||
         (activation >= TC_ACTIVATION_SIGMOID && activation != TC_ACTIVATION_HARD_SWISH && activation != TC_ACTIVATION_HARD_SIGMOID);
}

}  // namespace

#endif
