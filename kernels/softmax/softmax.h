// Softmax sees its operand as [outer][axis][inner]; shared by check and rows.
#ifndef TIERCAST_SOFTMAX_SOFTMAX_H_
#define TIERCAST_SOFTMAX_SOFTMAX_H_

#include "softmax_params.h"
#include "views/rules.h"

namespace {

constexpr int64_t kLanes = 64;      // columns (or short rows) worked on at once
constexpr int64_t kShortAxis = 16;  // an innermost axis up to this long is turned, so that vectors run across rows

struct Extent {
  int64_t outer, axis, inner;
};

inline Extent extent_of(const tc_call* call) {
  const tc_view& x = call->inputs[0];
  const int axis = static_cast<const tc_softmax_params*>(call->params)->axis;
  return {span(x, 0, axis), x.dims[axis], span(x, axis + 1, x.rank)};
}

// A tile of kShortAxis x kLanes turned rows; nothing for other shapes.
inline int64_t scratch_need() { return kShortAxis * kLanes * static_cast<int64_t>(sizeof(float)); }

}  // namespace

#endif
