// What check, the portable row and the fast rows of conv2d agree on: operands, geometry and the scratch they need.
#ifndef TIERCAST_CONV2D_H_
#define TIERCAST_CONV2D_H_

#include "conv2d/padding.h"
#include "conv2d_params.h"
#include "simd/panels.h"
#include "tiercast/kernel.h"

namespace {

enum { CONV_X = 0, CONV_WEIGHT, CONV_BIAS, CONV_SLOPE, CONV_RESIDUAL, CONV_INPUTS };

// NHWC sizes of one call. Every `group` has `c` input and `oc` output channels; `k` = kh * kw * c packed rows, `columns` of sums (gates are
// some too), in `padded` packed ones. h and w are those of the enlarged image.
struct Conv {
  const tc_conv2d_params* p;
  const tc_view *x, *y, *residual;  // residual: NULL when there is none
  const E *weight, *bias, *slope;
  int64_t n, h, w, c, oh, ow, oc, k, columns, padded;
};

inline Conv conv_of(const tc_call* call) {
  Conv v = {};
  v.p = (const tc_conv2d_params*)call->params;
  v.x = &call->inputs[CONV_X];
  v.y = &call->outputs[0];
  v.weight = (const E*)call->inputs[CONV_WEIGHT].data;
  v.bias = (const E*)call->inputs[CONV_BIAS].data;
  v.slope = (const E*)call->inputs[CONV_SLOPE].data;
  v.residual = v.p->residual_mode == TC_RESIDUAL_NONE ? nullptr : &call->inputs[CONV_RESIDUAL];
  v.n = v.x->dims[0];
  v.h = enlarged(v.p, *v.x, 0);
  v.w = enlarged(v.p, *v.x, 1);
  v.c = v.x->dims[3] / v.p->group;
  v.oh = v.y->dims[1];
  v.ow = v.y->dims[2];
  v.oc = v.y->dims[3] / v.p->group;
  v.k = (int64_t)v.p->kernel[0] * v.p->kernel[1] * v.c;
  v.columns = v.p->gated != 0 ? 2 * v.oc : v.oc;
  v.padded = padded_columns(v.columns, v.p->granule);
  return v;
}

inline bool enlarges(const tc_conv2d_params* p) { return p->upsample[0] != 1 || p->upsample[1] != 1; }

// A 1x1 convolution without pads reads its A rows from the image and needs no scratch.
inline bool conv_is_pointwise(const tc_conv2d_params* p) {
  return p->kernel[0] == 1 && p->kernel[1] == 1 && p->pads[0] == 0 && p->pads[1] == 0 && p->pads[2] == 0 && p->pads[3] == 0;
}

// So few output channels leave a vector's lanes empty: fast rows sum along k instead.
enum { THIN_COLUMNS = 3 };
// Columns of weights that fast rows may pack anew for thin panels.
enum { REPACKED_COLUMNS = 8 };

// Scratch of one thread: `block` im2row rows of k floats, and the repacked columns.
inline Checked conv_scratch_bytes(const Conv& v) {
  const int64_t rows = conv_is_pointwise(v.p) ? 0 : v.p->block;
  return Checked(v.p->kernel[0]) * v.p->kernel[1] * v.c * (rows + REPACKED_COLUMNS) * (int64_t)sizeof(E);
}

}  // namespace

#endif
