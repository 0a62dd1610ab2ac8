// The weight operand of winograd_conv2d from a plain one: G g G^T in double, rounded once, in panels (see winograd_conv2d/winograd.h).
#ifndef TIERCAST_WINOGRAD_WEIGHTS_H_
#define TIERCAST_WINOGRAD_WEIGHTS_H_

#include "simd/panels.h"
#include "winograd_conv2d/points.h"
#include "winograd_weights_params.h"

namespace {

enum { MOST_POINTS = 8, WIDEST = 64 };

// G of F(m, 3): row i takes the filter's polynomial at point i, over the product of its distances to all others; the last one is infinity.
inline void filter_matrix(int m, double (*g)[3]) {
  for (int i = 0; i <= m; ++i) {
    const double at = finite_point(m, i);
    double scale = 1.0;
    for (int j = 0; j <= m; ++j) {
      if (j != i) scale *= at - finite_point(m, j);
    }
    for (int k = 0; k < 3; ++k) g[i][k] = (k == 0 ? 1.0 : k == 1 ? at : at * at) / scale;
  }
  g[m + 1][0] = g[m + 1][1] = 0.0;
  g[m + 1][2] = 1.0;
}

}  // namespace

#endif
