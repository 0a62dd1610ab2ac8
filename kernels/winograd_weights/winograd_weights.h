// The weight operand of winograd_conv2d from a plain one: G g G^T in double, rounded once, in panels (see winograd_conv2d/winograd.h).
#ifndef TIERCAST_WINOGRAD_WEIGHTS_H_
#define TIERCAST_WINOGRAD_WEIGHTS_H_

#include "simd/panels.h"
#include "winograd_conv2d/points.h"
#include "winograd_weights_params.h"

namespace {

enum { MOST_POINTS = 8, MOST_TAPS = 7, WIDEST = 64 };

// Whether F(m, r) has as many points as points.h has pairs for.
inline bool valid_tile(int64_t m, int64_t r) {
  const bool small = m >= 1 && m <= MOST_POINTS && r >= 1 && r <= MOST_TAPS;
  const int64_t points = m + r - 1;
  return small && points >= 4 && points <= MOST_POINTS && points % 2 == 0;
}

// G of F(m, r): row i takes the filter's polynomial at point i, over the product of its distances to all others; the last one is infinity.
inline void filter_matrix(int m, int r, double (*g)[MOST_TAPS]) {
  const int finite = m + r - 2, pairs = pair_count(m, r);
  for (int i = 0; i < finite; ++i) {
    const double at = finite_point(pairs, i);
    double scale = 1.0, power = 1.0;
    for (int j = 0; j < finite; ++j) {
      if (j != i) scale *= at - finite_point(pairs, j);
    }
    for (int k = 0; k < r; ++k, power *= at) g[i][k] = power / scale;
  }
  for (int k = 0; k < r; ++k) g[finite][k] = k == r - 1 ? 1.0 : 0.0;
}

}  // namespace

#endif
