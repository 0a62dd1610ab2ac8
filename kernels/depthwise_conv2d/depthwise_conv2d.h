// What check, the portable row and the fast rows of depthwise_conv2d agree on.
#ifndef TIERCAST_DEPTHWISE_CONV2D_H_
#define TIERCAST_DEPTHWISE_CONV2D_H_

#include "conv2d/padding.h"
#include "depthwise_conv2d_params.h"
#include "simd/checked.h"

namespace {

// A kernel has at most this many rows, so that their addresses fit on the stack.
enum { MAX_KERNEL_ROWS = 64 };

enum { DW_X = 0, DW_WEIGHT, DW_BIAS, DW_SLOPE, DW_RESIDUAL, DW_INPUTS };

// NHWC sizes of one call. weight is [kh * kw][c], bias and slope [c].
struct Depthwise {
  const tc_depthwise_conv2d_params* p;
  const tc_view *x, *y, *residual;  // residual: NULL when there is none
  const E *weight, *bias, *slope;
  int64_t n, h, w, c, oh, ow;
};

inline Depthwise depthwise_of(const tc_call* call) {
  Depthwise v = {};
  v.p = (const tc_depthwise_conv2d_params*)call->params;
  v.x = &call->inputs[DW_X];
  v.y = &call->outputs[0];
  v.weight = (const E*)call->inputs[DW_WEIGHT].data;
  v.bias = (const E*)call->inputs[DW_BIAS].data;
  v.slope = (const E*)call->inputs[DW_SLOPE].data;
  v.residual = v.p->residual_mode == TC_RESIDUAL_NONE ? nullptr : &call->inputs[DW_RESIDUAL];
  v.n = v.x->dims[0];
  v.h = v.x->dims[1];
  v.w = v.x->dims[2];
  v.c = v.x->dims[3];
  v.oh = v.y->dims[1];
  v.ow = v.y->dims[2];
  return v;
}

}  // namespace

#endif
