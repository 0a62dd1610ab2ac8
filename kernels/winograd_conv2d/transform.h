// One-dimensional transforms of F(m, 3) on vectors; applied to columns, then to rows. Include one ISA's header before.
#ifndef TIERCAST_WINOGRAD_CONV2D_TRANSFORM_H_
#define TIERCAST_WINOGRAD_CONV2D_TRANSFORM_H_

#include "winograd_conv2d/points.h"

namespace {

// Coefficients that must be constants of the instruction stream, whatever the compiler thinks of loops.
template <int SIDE, int K, int WITHOUT>
TC_INLINE V coefficient() {
  constexpr float c = even_coefficient<SIDE>(K, WITHOUT);
  return v_set1(c);
}
template <int SIDE, int I, int EXPONENT>
TC_INLINE V power_of() {
  constexpr float c = power<SIDE>(I, EXPONENT);
  return v_set1(c);
}

// last + sum over k < COUNT of coefficient(k) * d[2k].
template <int SIDE, int WITHOUT, int COUNT, int K = 0>
TC_INLINE V even_sum(const V* d, V last) {
  if constexpr (K == COUNT) {
    return last;
  } else {
    return even_sum<SIDE, WITHOUT, COUNT, K + 1>(d, v_fma(coefficient<SIDE, K, WITHOUT>(), d[2 * K], last));
  }
}

template <int SIDE, int I = 0>
TC_INLINE void input_pairs(const V (&d)[SIDE + 2], V (&out)[SIDE + 2]) {
  if constexpr (I < SIDE / 2) {
    const V even = even_sum<SIDE, I, SIDE / 2 - 1>(d + 2, d[SIDE]), odd = even_sum<SIDE, I, SIDE / 2 - 1>(d + 1, d[SIDE - 1]);
    if constexpr (Points<SIDE>::s[I] == 1.0f) {
      out[1 + 2 * I] = v_add(even, odd);
      out[2 + 2 * I] = v_sub(even, odd);
    } else {
      out[1 + 2 * I] = v_fma(v_set1(Points<SIDE>::s[I]), odd, even);
      out[2 + 2 * I] = v_fma(v_set1(-Points<SIDE>::s[I]), odd, even);
    }
    input_pairs<SIDE, I + 1>(d, out);
  }
}

// B^T d.
template <int SIDE>
TC_INLINE void transform_input(const V (&d)[SIDE + 2], V (&out)[SIDE + 2]) {
  out[0] = even_sum<SIDE, -1, SIDE / 2>(d, d[SIDE]);
  input_pairs<SIDE>(d, out);
  out[SIDE + 1] = even_sum<SIDE, -1, SIDE / 2>(d + 1, d[SIDE + 1]);
}

// sum + sum over i < COUNT of s_i^EXPONENT * x[i].
template <int SIDE, int EXPONENT, int I = 0>
TC_INLINE V power_sum(const V (&x)[SIDE / 2], V sum) {
  if constexpr (I == SIDE / 2) {
    return sum;
  } else {
    return power_sum<SIDE, EXPONENT, I + 1>(x, v_fma(power_of<SIDE, I, EXPONENT>(), x[I], sum));
  }
}

template <int SIDE, int K>
TC_INLINE void output_powers(const V (&sum)[SIDE / 2], const V (&difference)[SIDE / 2], V last, V (&y)[SIDE]) {
  if constexpr (K < SIDE) {
    const V(&x)[SIDE / 2] = K % 2 == 0 ? sum : difference;
    if constexpr (K == SIDE - 1) {
      y[K] = power_sum<SIDE, K>(x, last);
    } else {
      y[K] = power_sum<SIDE, K, 1>(x, v_mul(power_of<SIDE, 0, K>(), x[0]));
    }
    output_powers<SIDE, K + 1>(sum, difference, last, y);
  }
}

// A^T m.
template <int SIDE>
TC_INLINE void transform_output(const V (&m)[SIDE + 2], V (&y)[SIDE]) {
  V sum[SIDE / 2], difference[SIDE / 2];
#pragma clang loop unroll(full)
  for (int i = 0; i < SIDE / 2; ++i) {
    sum[i] = v_add(m[1 + 2 * i], m[2 + 2 * i]);
    difference[i] = v_sub(m[1 + 2 * i], m[2 + 2 * i]);
  }
  y[0] = m[0];
#pragma clang loop unroll(full)
  for (int i = 0; i < SIDE / 2; ++i) y[0] = v_add(y[0], sum[i]);
  output_powers<SIDE, 1>(sum, difference, m[SIDE + 1], y);
}

}  // namespace

#endif
