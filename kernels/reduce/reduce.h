// The loop nest of a reduction, shared by check and rows.
#ifndef TIERCAST_REDUCE_REDUCE_H_
#define TIERCAST_REDUCE_REDUCE_H_

#include "reduce_params.h"
#include "views/rules.h"

namespace {

// Some of a view's axes, outermost first, merged where one continues the other; at least one axis.
struct Axes {
  int rank;
  int64_t count;
  int64_t dims[TC_MAX_RANK], strides[TC_MAX_RANK];

  int64_t inner_dim() const { return dims[rank - 1]; }
  int64_t inner_stride() const { return strides[rank - 1]; }
  int64_t outer_count() const { return count / inner_dim(); }

  // Element offset of row-major position `index` of the axes but the innermost (`without` of them left out).
  int64_t offset(int64_t index, int without) const {
    int64_t sum = 0;
    for (int i = rank - 1 - without; i >= 0; --i) {
      sum += index % dims[i] * strides[i];
      index /= dims[i];
    }
    return sum;
  }
};

inline Axes axes_where(const tc_view& x, int32_t mask, bool reduced) {
  Axes axes = {0, 1, {}, {}};
  for (int i = 0; i < x.rank; ++i) {
    if ((mask >> i & 1) != static_cast<int>(reduced) || x.dims[i] == 1) continue;
    axes.count *= x.dims[i];
    const bool merges = axes.rank > 0 && axes.strides[axes.rank - 1] == x.strides[i] * x.dims[i];
    if (!merges) axes.dims[axes.rank++] = 1;
    axes.dims[axes.rank - 1] *= x.dims[i];
    axes.strides[axes.rank - 1] = x.strides[i];
  }
  if (axes.rank == 0) {
    axes.rank = 1;
    axes.dims[0] = 1;
  }
  return axes;
}

}  // namespace

#endif
