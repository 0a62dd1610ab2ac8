// One-dimensional transforms of F(m, r) on vectors; applied to columns, then to rows. Include one ISA's header before.
#ifndef TIERCAST_WINOGRAD_CONV2D_TRANSFORM_H_
#define TIERCAST_WINOGRAD_CONV2D_TRANSFORM_H_

#include "winograd_conv2d/points.h"

namespace {

// Coefficients that must be constants of the instruction stream, whatever the compiler thinks of loops.
template <int PAIRS, int K, int WITHOUT>
TC_INLINE V coefficient() {
  constexpr float c = even_coefficient<PAIRS>(K, WITHOUT);
  return v_set1(c);
}
template <int PAIRS, int I, int EXPONENT>
TC_INLINE V power_of() {
  constexpr float c = power<PAIRS>(I, EXPONENT);
  return v_set1(c);
}

// last + sum over k < COUNT of coefficient(k) * d[2k].
template <int PAIRS, int WITHOUT, int COUNT, int K = 0>
TC_INLINE V even_sum(const V* d, V last) {
  if constexpr (K == COUNT) {
    return last;
  } else {
    return even_sum<PAIRS, WITHOUT, COUNT, K + 1>(d, v_fma(coefficient<PAIRS, K, WITHOUT>(), d[2 * K], last));
  }
}

template <int PAIRS, int I = 0>
TC_INLINE void input_pairs(const V (&d)[2 * PAIRS + 2], V (&out)[2 * PAIRS + 2]) {
  if constexpr (I < PAIRS) {
    const V even = even_sum<PAIRS, I, PAIRS - 1>(d + 2, d[2 * PAIRS]), odd = even_sum<PAIRS, I, PAIRS - 1>(d + 1, d[2 * PAIRS - 1]);
    if constexpr (Points<PAIRS>::s[I] == 1.0f) {
      out[1 + 2 * I] = v_add(even, odd);
      out[2 + 2 * I] = v_sub(even, odd);
    } else {
      out[1 + 2 * I] = v_fma(v_set1(Points<PAIRS>::s[I]), odd, even);
      out[2 + 2 * I] = v_fma(v_set1(-Points<PAIRS>::s[I]), odd, even);
    }
    input_pairs<PAIRS, I + 1>(d, out);
  }
}

// B^T d.
template <int PAIRS>
TC_INLINE void transform_input(const V (&d)[2 * PAIRS + 2], V (&out)[2 * PAIRS + 2]) {
  out[0] = even_sum<PAIRS, -1, PAIRS>(d, d[2 * PAIRS]);
  input_pairs<PAIRS>(d, out);
  out[2 * PAIRS + 1] = even_sum<PAIRS, -1, PAIRS>(d + 1, d[2 * PAIRS + 1]);
}

// sum + sum over i < COUNT of s_i^EXPONENT * x[i].
template <int PAIRS, int EXPONENT, int I = 0>
TC_INLINE V power_sum(const V (&x)[PAIRS], V sum) {
  if constexpr (I == PAIRS) {
    return sum;
  } else {
    return power_sum<PAIRS, EXPONENT, I + 1>(x, v_fma(power_of<PAIRS, I, EXPONENT>(), x[I], sum));
  }
}

template <int PAIRS, int SIDE, int K>
TC_INLINE void output_powers(const V (&sum)[PAIRS], const V (&difference)[PAIRS], V last, V (&y)[SIDE]) {
  if constexpr (K < SIDE) {
    const V(&x)[PAIRS] = K % 2 == 0 ? sum : difference;
    if constexpr (K == SIDE - 1) {
      y[K] = power_sum<PAIRS, K>(x, last);
    } else {
      y[K] = power_sum<PAIRS, K, 1>(x, v_mul(power_of<PAIRS, 0, K>(), x[0]));
    }
    output_powers<PAIRS, SIDE, K + 1>(sum, difference, last, y);
  }
}

// A^T m: SIDE outputs.
template <int PAIRS, int SIDE>
TC_INLINE void transform_output(const V (&m)[2 * PAIRS + 2], V (&y)[SIDE]) {
  V sum[PAIRS], difference[PAIRS];
#pragma clang loop unroll(full)
  for (int i = 0; i < PAIRS; ++i) {
    sum[i] = v_add(m[1 + 2 * i], m[2 + 2 * i]);
    difference[i] = v_sub(m[1 + 2 * i], m[2 + 2 * i]);
  }
  y[0] = m[0];
#pragma clang loop unroll(full)
  for (int i = 0; i < PAIRS; ++i) y[0] = v_add(y[0], sum[i]);
  output_powers<PAIRS, SIDE, 1>(sum, difference, m[2 * PAIRS + 1], y);
}

}  // namespace

#endif
