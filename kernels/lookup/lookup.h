// How rows of lookup cut up a call. Bytes index their table as they lie in memory: s8 -1 is entry 255.
#ifndef TIERCAST_LOOKUP_H_
#define TIERCAST_LOOKUP_H_

#include "lookup_params.h"
#include "views/lines.h"

namespace {

// With a table of each channel a line is the last axis.
inline Lines lookup_lines(const tc_call* call) {
  const tc_view& x = call->inputs[0];
  if (static_cast<const tc_lookup_params*>(call->params)->per_channel == 0) return lines_of(x, call->outputs[0]);
  const int64_t total = count_of(x), length = x.rank > 0 ? x.dims[x.rank - 1] : 1;
  return {total / length, length, total, false};
}

}  // namespace

#endif
