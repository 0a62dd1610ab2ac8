// Channels of one pooling window: what rows of quantized_pool2d walk.
#ifndef TIERCAST_QUANTIZED_POOL2D_TAPS_H_
#define TIERCAST_QUANTIZED_POOL2D_TAPS_H_

#include "quantized_pool2d/quantized_pool2d.h"
#include "simd/kernel_row.h"

namespace {

enum { RUN = 64, FEW = 16 };  // channels whose sums are kept at a time; fewer fill no vector

struct Taps {
  const int8_t* first;  // tap 0 inside the image, of the run's first channel
  int64_t rows, cols, row_step, col_step;
};

}  // namespace

#endif
