// What check and all rows of quantized_conv2d agree on: operands, geometry, packed weights and scratch.
#ifndef TIERCAST_QUANTIZED_CONV2D_H_
#define TIERCAST_QUANTIZED_CONV2D_H_

#include "quantized_conv2d_params.h"
#include "simd/checked.h"
#include "simd/panels.h"
#include "simd/requantize.h"

namespace {

enum { QCONV_X = 0, QCONV_WEIGHT, QCONV_BIAS, QCONV_SCALE, QCONV_INPUTS };
enum { QCONV_SLACK = 64 };        // bytes behind the last gathered pixel that may be written
enum { QCONV_LEAST_BLOCK = 20 };  // four pixels, four times each, and one more

// Every `group` has `c` input and `oc` output channels. k = kh * kw * c, in `quads` of four: weights are panels (simd/panels.h) of quads,
// each element four bytes of one column. `pitch` is that of a gathered pixel.
struct QConv {
  const tc_quantized_conv2d_params* p;
  const tc_view *x, *y;
  const int8_t* weight;
  const int32_t *bias, *sums;  // bias, less the zero point's share; the sum of each column's weights
  const float* scale;
  int64_t n, h, w, c, oh, ow, oc, k, quads, padded, pitch, pixels;
  Limits to;
};

inline QConv qconv_of(const tc_call* call) {
  QConv v = {};
  v.p = (const tc_quantized_conv2d_params*)call->params;
  v.x = &call->inputs[QCONV_X];
  v.y = &call->outputs[0];
  v.weight = (const int8_t*)call->inputs[QCONV_WEIGHT].data;
  v.n = v.x->dims[0];
  v.h = v.x->dims[1];
  v.w = v.x->dims[2];
  v.c = v.x->dims[3] / v.p->group;
  v.oh = v.y->dims[1];
  v.ow = v.y->dims[2];
  v.oc = v.y->dims[3] / v.p->group;
  v.k = (int64_t)v.p->kernel[0] * v.p->kernel[1] * v.c;
  v.quads = (v.k + 3) / 4;
  v.padded = padded_columns(v.oc, v.p->granule);
  v.pitch = (v.k + 15) / 16 * 16;
  v.pixels = v.n * v.oh * v.ow;
  v.bias = (const int32_t*)call->inputs[QCONV_BIAS].data;
  v.sums = v.bias + v.padded * v.p->group;
  v.scale = (const float*)call->inputs[QCONV_SCALE].data;
  v.to = {v.p->y_zero, v.p->low, v.p->high};
  return v;
}

// Scratch of one thread: `block` gathered pixels.
inline Checked qconv_scratch_bytes(const QConv& v) { return Checked(v.pitch) * v.p->block + QCONV_SLACK; }

}  // namespace

#endif
