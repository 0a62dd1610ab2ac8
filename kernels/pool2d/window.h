// Where a pooling window lies on one axis: of pool2d and quantized_pool2d.
#ifndef TIERCAST_POOL2D_WINDOW_H_
#define TIERCAST_POOL2D_WINDOW_H_

#include "views/rules.h"

namespace {

// Taps [begin, end) of a window are inside the image; `start` is the input position of tap 0; `counted` is the divisor's share.
struct Window {
  int64_t start, begin, end, counted;
};

template <class Params>
inline Window window_of(const Params& p, int axis, int64_t out, int64_t length) {
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
