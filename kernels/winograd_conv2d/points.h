// The interpolation points of F(m x m, r x r): 0, pairs +-s, infinity; m + r - 1 in all. (S. Winograd 1980; A. Lavin, S. Gray,
// arXiv:1509.09308.)
//
// Points decide how much rounding is amplified. Of pairs that are exact in binary, 3/4 and 3/2 measured half the error of the usual 1 and 2
// for two pairs; for three none measured better than 1/2, 1, 2.
#ifndef TIERCAST_WINOGRAD_CONV2D_POINTS_H_
#define TIERCAST_WINOGRAD_CONV2D_POINTS_H_

#include <stdint.h>

namespace {

// Pairs of points of F(m, r).
constexpr int pair_count(int m, int r) { return (m + r - 3) / 2; }

// The positive ones.
template <int PAIRS>
struct Points;
template <>
struct Points<1> {
  static constexpr float s[1] = {1.0f};
};
template <>
struct Points<2> {
  static constexpr float s[2] = {0.75f, 1.5f};
};
template <>
struct Points<3> {
  static constexpr float s[3] = {0.5f, 1.0f, 2.0f};
};

// Coefficient of x^(2k) in the product of (x^2 - s_i^2) over all pairs but `without` (-1: over all); what is above the product's degree is
// 0.
template <int PAIRS>
constexpr float even_coefficient(int k, int without) {
  float c[PAIRS + 1] = {1.0f};
  int degree = 0;
  for (int i = 0; i < PAIRS; ++i) {
    if (i == without) continue;
    const float square = Points<PAIRS>::s[i] * Points<PAIRS>::s[i];
    c[++degree] = 0.0f;
    for (int j = degree; j > 0; --j) c[j] = c[j - 1] - square * c[j];
    c[0] = -square * c[0];
  }
  return c[k];
}

template <int PAIRS>
constexpr float power(int i, int exponent) {
  float x = 1.0f;
  for (int k = 0; k < exponent; ++k) x *= Points<PAIRS>::s[i];
  return x;
}

// Transformed value number `one` is that of point 1, to which A^T gives the factor 1 in every output; -1 where 1 is no point.
template <int PAIRS>
constexpr int one_of() {
  for (int i = 0; i < PAIRS; ++i) {
    if (Points<PAIRS>::s[i] == 1.0f) return 1 + 2 * i;
  }
  return -1;
}

// Finite point number i where there are `pairs` pairs, in the order of the transformed values: 0, +s_0, -s_0, +s_1, ...
inline double finite_point(int pairs, int i) {
  if (i == 0) return 0.0;
  const float* s = pairs == 1 ? Points<1>::s : pairs == 2 ? Points<2>::s : Points<3>::s;
  return i % 2 == 1 ? s[(i - 1) / 2] : -s[(i - 1) / 2];
}

}  // namespace

#endif
