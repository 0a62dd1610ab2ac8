// A padded copy as [outer][axis][group of elements], shared by check and run.
#ifndef TIERCAST_PAD_PAD_H_
#define TIERCAST_PAD_PAD_H_

#include "pad_params.h"
#include "views/rules.h"

namespace {

// The innermost axis that is padded; what lies inside of it moves in one piece.
inline int padded_axis(const tc_call* call) {
  const tc_pad_params& p = *static_cast<const tc_pad_params*>(call->params);
  int axis = call->outputs[0].rank - 1;
  while (axis > 0 && p.begins[axis] == 0 && call->inputs[0].dims[axis] == call->outputs[0].dims[axis]) --axis;
  return axis;
}

// The input position of output position `at` - begin on an axis of `length`; -1: outside, which mode constant fills.
inline int64_t source_of(int mode, int64_t at, int64_t length) {
  if (at >= 0 && at < length) return at;
  switch (mode) {
    case TC_FILL_MODE_EDGE:
      return at < 0 ? 0 : length - 1;
    case TC_FILL_MODE_REFLECT: {
      if (length == 1) return 0;
      const int64_t period = 2 * (length - 1);
      const int64_t within_period = (at % period + period) % period;
      return within_period < length ? within_period : period - within_period;
    }
    case TC_FILL_MODE_WRAP:
      return (at % length + length) % length;
    default:
      return -1;
  }
}

}  // namespace

#endif
