// Where a pooling window lies on one axis, shared by check and rows.
#ifndef TIERCAST_POOL2D_POOL2D_H_
#define TIERCAST_POOL2D_POOL2D_H_

#include "pool2d_params.h"
#include "views/rules.h"

namespace {

// Taps [begin, end) of a window are inside the image; `start` is the input position of tap 0; `counted` is the divisor's share.
struct Window {
  int64_t start, begin, end, counted;
};

inline Window window_of(const tc_pool2d_params& p, int axis, int64_t out, int64_t length) {
  const int64_t kernel = p.kernel[axis], dilation = p.dilations[axis], before = p.pads[axis], after = p.pads[axis + 2];
  Window w = {out * p.strides[axis] - before, 0, 0, 0};
  w.begin = w.start < 0 ? blocks_of(-w.start, dilation) : 0;
  w.end = smaller(kernel, w.start < length ? blocks_of(length - w.start, dilation) : 0);
  if (w.end < w.begin) w.end = w.begin;
  const int64_t padded = length + after;
  const int64_t inside_pads = smaller(kernel, w.start < padded ? blocks_of(padded - w.start, dilation) : 0);
  w.counted = p.count_include_pad != 0 ? inside_pads : w.end - w.begin;
  return w;
}

}  // namespace

#endif
