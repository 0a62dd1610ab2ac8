// The interpolation points of F(m x m, 3 x 3): 0, pairs +-s, infinity. (S. Winograd 1980; A. Lavin, S. Gray, arXiv:1509.09308.)
//
// Points decide how much rounding is amplified. Of pairs that are exact in binary, 3/4 and 3/2 measured half the error of the usual 1 and 2
// for m = 4; for m = 6 none measured better than 1/2, 1, 2.
#ifndef TIERCAST_WINOGRAD_CONV2D_POINTS_H_
#define TIERCAST_WINOGRAD_CONV2D_POINTS_H_

#include <stdint.h>

namespace {

// The positive ones; m has m / 2 of them.
template <int SIDE>
struct Points;
template <>
struct Points<2> {
  static constexpr float s[1] = {1.0f};
};
template <>
struct Points<4> {
  static constexpr float s[2] = {0.75f, 1.5f};
};
template <>
struct Points<6> {
  static constexpr float s[3] = {0.5f, 1.0f, 2.0f};
};

// Coefficient of x^(2k) in the product of (x^2 - s_i^2) over all pairs but `without` (-1: over all); what is above the product's degree is
// 0.
template <int SIDE>
constexpr float even_coefficient(int k, int without) {
  float c[SIDE / 2 + 1] = {1.0f};
  int degree = 0;
  for (int i = 0; i < SIDE / 2; ++i) {
    if (i == without) continue;
    const float square = Points<SIDE>::s[i] * Points<SIDE>::s[i];
    c[++degree] = 0.0f;
    for (int j = degree; j > 0; --j) c[j] = c[j - 1] - square * c[j];
    c[0] = -square * c[0];
  }
  return c[k];
}

template <int SIDE>
constexpr float power(int i, int exponent) {
  float x = 1.0f;
  for (int k = 0; k < exponent; ++k) x *= Points<SIDE>::s[i];
  return x;
}

// Transformed value number `one` is that of point 1, to which A^T gives the factor 1 in every output; -1 where 1 is no point.
template <int SIDE>
constexpr int one_of() {
  for (int i = 0; i < SIDE / 2; ++i) {
    if (Points<SIDE>::s[i] == 1.0f) return 1 + 2 * i;
  }
  return -1;
}

// Finite point number i of an F(m x m, 3 x 3), in the order of the transformed values: 0, +s_0, -s_0, +s_1, ...
inline double finite_point(int m, int i) {
  if (i == 0) return 0.0;
  const float* s = m == 2 ? Points<2>::s : m == 4 ? Points<4>::s : Points<6>::s;
  return i % 2 == 1 ? s[(i - 1) / 2] : -s[(i - 1) / 2];
}

}  // namespace

#endif
