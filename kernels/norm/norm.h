// Extents and scratch of normalisation, shared by check and rows.
#ifndef TIERCAST_NORM_NORM_H_
#define TIERCAST_NORM_NORM_H_

#include "norm_params.h"
#include "views/rules.h"

namespace {

inline bool by_channel(const tc_norm_params& p) { return p.kind == TC_NORM_KIND_INSTANCE || p.kind == TC_NORM_KIND_GROUP; }

// Channels of one work item: whole groups, at least a cache line of floats, and for 32 channels or more two items or more.
inline int64_t block_channels(const tc_norm_params& p, int64_t channels) {
  const int64_t group = p.kind == TC_NORM_KIND_INSTANCE ? 1 : channels / p.groups;
  const int64_t wanted = larger(16, smaller(64, blocks_of(channels / 2, 16) * 16));
  return smaller(channels, larger(1, wanted / group) * group);
}

// Per channel: mean, sum of squared distances from it, factor and shift.
inline int64_t scratch_need(const tc_norm_params& p, int64_t channels) {
  return by_channel(p) ? 4 * channels * static_cast<int64_t>(sizeof(float)) : 0;
}

// Rows of one work item when rows are normalised.
inline int64_t row_block(int64_t length) { return larger(1, 4096 / length); }

}  // namespace

#endif
