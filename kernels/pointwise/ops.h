// The meaning of each opcode on vectors of the dialect that was included before.
#ifndef TIERCAST_POINTWISE_OPS_H_
#define TIERCAST_POINTWISE_OPS_H_

#include "simd/activation.h"

// X(opcode, how many operands). NaN: max, min, relu and clip pass it on; comparisons with it are false.
// clang-format off
#define TC_POINTWISE_OPS(X)                                                                                      \
  X(ADD, 2) X(SUB, 2) X(MUL, 2) X(DIV, 2) X(POW, 2) X(MAX, 2) X(MIN, 2) X(MOD, 2) X(FMOD, 2) X(EQUAL, 2)          \
  X(LESS, 2) X(LESS_EQUAL, 2) X(GREATER, 2) X(GREATER_EQUAL, 2) X(AND, 2) X(OR, 2) X(XOR, 2) X(PRELU, 2)          \
  X(LEAKY_RELU, 2) X(ELU, 2) X(THRESHOLDED_RELU, 2) X(WHERE, 3) X(CLIP, 3) X(FMA, 3) X(HARD_SIGMOID, 3) X(ABS, 1) \
  X(NEG, 1) X(SQRT, 1) X(EXP, 1) X(LOG, 1) X(SIN, 1) X(COS, 1) X(TAN, 1) X(ASIN, 1) X(ACOS, 1) X(ATAN, 1)         \
  X(SINH, 1) X(COSH, 1) X(TANH, 1) X(ASINH, 1) X(ACOSH, 1) X(ATANH, 1) X(ERF, 1) X(FLOOR, 1) X(CEIL, 1)           \
  X(ROUND, 1) X(SIGN, 1) X(RECIPROCAL, 1) X(SIGMOID, 1) X(RELU, 1) X(SOFTPLUS, 1) X(SOFTSIGN, 1) X(MISH, 1)       \
  X(GELU, 1) X(GELU_TANH, 1) X(SILU, 1) X(HARD_SWISH, 1) X(NOT, 1) X(ISNAN, 1) X(ISINF, 1) X(EXPM1, 1)            \
  X(IDENTITY, 1)
// clang-format on

namespace {

TC_INLINE V v_truth(M m) { return v_select(m, v_set1(1.0f), v_zero()); }
TC_INLINE M v_true(V x) { return v_ne(x, v_zero()); }

// The remainder with the divisor's sign, as Python's %.
inline float floor_mod(float a, float b) {
  const float rest = fmodf(a, b);
  return rest != 0.0f && (rest < 0.0f) != (b < 0.0f) ? rest + b : rest;
}

template <int Op>
TC_INLINE V evaluate(V a, V b, V c) {
  const V zero = v_zero();
  const V one = v_set1(1.0f);
  if constexpr (Op == TC_POINTWISE_OP_ADD) return v_add(a, b);
  if constexpr (Op == TC_POINTWISE_OP_SUB) return v_sub(a, b);
  if constexpr (Op == TC_POINTWISE_OP_MUL) return v_mul(a, b);
  if constexpr (Op == TC_POINTWISE_OP_DIV) return v_div(a, b);
  if constexpr (Op == TC_POINTWISE_OP_POW) return v_map2(a, b, [](float x, float y) { return powf(x, y); });
  if constexpr (Op == TC_POINTWISE_OP_MAX) return v_select(v_ne(a, a), a, v_select(v_gt(a, b), a, b));
  if constexpr (Op == TC_POINTWISE_OP_MIN) return v_select(v_ne(a, a), a, v_select(v_lt(a, b), a, b));
  if constexpr (Op == TC_POINTWISE_OP_MOD) return v_map2(a, b, floor_mod);
  if constexpr (Op == TC_POINTWISE_OP_FMOD) return v_map2(a, b, [](float x, float y) { return fmodf(x, y); });
  if constexpr (Op == TC_POINTWISE_OP_EQUAL) return v_truth(v_eq(a, b));
  if constexpr (Op == TC_POINTWISE_OP_LESS) return v_truth(v_lt(a, b));
  if constexpr (Op == TC_POINTWISE_OP_LESS_EQUAL) return v_truth(v_le(a, b));
  if constexpr (Op == TC_POINTWISE_OP_GREATER) return v_truth(v_gt(a, b));
  if constexpr (Op == TC_POINTWISE_OP_GREATER_EQUAL) return v_truth(v_ge(a, b));
  if constexpr (Op == TC_POINTWISE_OP_AND) return v_truth(m_and(v_true(a), v_true(b)));
  if constexpr (Op == TC_POINTWISE_OP_OR) return v_truth(m_or(v_true(a), v_true(b)));
  if constexpr (Op == TC_POINTWISE_OP_XOR) return v_truth(v_ne(v_truth(v_true(a)), v_truth(v_true(b))));
  if constexpr (Op == TC_POINTWISE_OP_PRELU || Op == TC_POINTWISE_OP_LEAKY_RELU) {
    return v_select(v_lt(a, zero), v_mul(a, b), a);
  }
  if constexpr (Op == TC_POINTWISE_OP_ELU) return v_select(v_gt(a, zero), a, v_mul(b, v_expm1(a)));
  if constexpr (Op == TC_POINTWISE_OP_THRESHOLDED_RELU) return v_select(v_gt(a, b), a, zero);
  if constexpr (Op == TC_POINTWISE_OP_WHERE) return v_select(v_true(a), b, c);
  if constexpr (Op == TC_POINTWISE_OP_CLIP) return v_min(c, v_max(b, a));
  if constexpr (Op == TC_POINTWISE_OP_FMA) return v_fma(a, b, c);
  if constexpr (Op == TC_POINTWISE_OP_HARD_SIGMOID) return v_min(one, v_max(zero, v_fma(a, b, c)));
  if constexpr (Op == TC_POINTWISE_OP_ABS) return v_abs(a);
  if constexpr (Op == TC_POINTWISE_OP_NEG) return v_neg(a);
  if constexpr (Op == TC_POINTWISE_OP_SQRT) return v_sqrt(a);
  if constexpr (Op == TC_POINTWISE_OP_EXP) return v_exp(a);
  if constexpr (Op == TC_POINTWISE_OP_LOG) return v_log(a);
  if constexpr (Op == TC_POINTWISE_OP_SIN) return v_map(a, [](float x) { return sinf(x); });
  if constexpr (Op == TC_POINTWISE_OP_COS) return v_map(a, [](float x) { return cosf(x); });
  if constexpr (Op == TC_POINTWISE_OP_TAN) return v_map(a, [](float x) { return tanf(x); });
  if constexpr (Op == TC_POINTWISE_OP_ASIN) return v_map(a, [](float x) { return asinf(x); });
  if constexpr (Op == TC_POINTWISE_OP_ACOS) return v_map(a, [](float x) { return acosf(x); });
  if constexpr (Op == TC_POINTWISE_OP_ATAN) return v_map(a, [](float x) { return atanf(x); });
  if constexpr (Op == TC_POINTWISE_OP_SINH) return v_map(a, [](float x) { return sinhf(x); });
  if constexpr (Op == TC_POINTWISE_OP_COSH) return v_map(a, [](float x) { return coshf(x); });
  if constexpr (Op == TC_POINTWISE_OP_TANH) return v_tanh(a);
  if constexpr (Op == TC_POINTWISE_OP_ASINH) return v_map(a, [](float x) { return asinhf(x); });
  if constexpr (Op == TC_POINTWISE_OP_ACOSH) return v_map(a, [](float x) { return acoshf(x); });
  if constexpr (Op == TC_POINTWISE_OP_ATANH) return v_map(a, [](float x) { return atanhf(x); });
  if constexpr (Op == TC_POINTWISE_OP_ERF) return v_erf(a);
  if constexpr (Op == TC_POINTWISE_OP_FLOOR) return v_floor(a);
  if constexpr (Op == TC_POINTWISE_OP_CEIL) return v_ceil(a);
  if constexpr (Op == TC_POINTWISE_OP_ROUND) return v_round(a);
  if constexpr (Op == TC_POINTWISE_OP_SIGN) return v_select(v_gt(a, zero), one, v_select(v_lt(a, zero), v_neg(one), a));
  if constexpr (Op == TC_POINTWISE_OP_RECIPROCAL) return v_div(one, a);
  if constexpr (Op == TC_POINTWISE_OP_SIGMOID) return v_sigmoid(a);
  if constexpr (Op == TC_POINTWISE_OP_RELU) return v_max(zero, a);
  if constexpr (Op == TC_POINTWISE_OP_SOFTPLUS) return v_softplus(a);
  if constexpr (Op == TC_POINTWISE_OP_SOFTSIGN) return v_div(a, v_add(one, v_abs(a)));
  if constexpr (Op == TC_POINTWISE_OP_MISH) return v_mish(a);
  if constexpr (Op == TC_POINTWISE_OP_GELU) return v_gelu(a);
  if constexpr (Op == TC_POINTWISE_OP_GELU_TANH) return v_gelu_tanh(a);
  if constexpr (Op == TC_POINTWISE_OP_SILU) return v_div(a, v_add(one, v_exp(v_neg(a))));
  if constexpr (Op == TC_POINTWISE_OP_HARD_SWISH) {
    const V gate = v_fma(a, v_set1(1.0f / 6.0f), v_set1(0.5f));
    return v_mul(a, v_min(one, v_max(zero, gate)));
  }
  if constexpr (Op == TC_POINTWISE_OP_NOT) return v_truth(v_eq(a, zero));
  if constexpr (Op == TC_POINTWISE_OP_ISNAN) return v_truth(v_ne(a, a));
  if constexpr (Op == TC_POINTWISE_OP_ISINF) return v_truth(v_eq(v_abs(a), v_set1(HUGE_VALF)));
  if constexpr (Op == TC_POINTWISE_OP_EXPM1) return v_expm1(a);
  return a;
}

}  // namespace

#endif
