// Operands and scratch of normalisation by channel statistics, shared by check and rows.
#ifndef TIERCAST_CHANNEL_NORM_CHANNEL_NORM_H_
#define TIERCAST_CHANNEL_NORM_CHANNEL_NORM_H_

#include "channel_norm_params.h"
#include "channel_statistics/bands.h"

namespace {

enum { CN_X = 0, CN_STATISTICS, CN_SCALE, CN_BIAS, CN_SLOPE, CN_RESIDUAL, CN_INPUTS };

// Floats after which the channels repeat at the start of a vector of any row: factors are laid out that far, so that pixels of few channels
// are one long row. Wide pixels are rows of their own.
inline int64_t period_of(int64_t channels) {
  const int64_t unit = channels >= 128 ? channels
                                       : channels * (16 >> (channels % 16 == 0  ? 4
                                                            : channels % 8 == 0 ? 3
                                                            : channels % 4 == 0 ? 2
                                                            : channels % 2 == 0 ? 1
                                                                                : 0));
  return unit * blocks_of(64, unit);
}

// Factor, shift and slope.
inline int64_t channel_norm_scratch(int64_t channels) { return 3 * period_of(channels) * static_cast<int64_t>(sizeof(float)); }

}  // namespace

#endif
