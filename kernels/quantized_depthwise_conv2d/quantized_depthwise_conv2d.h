// What check and all rows of quantized_depthwise_conv2d agree on: operands, geometry, packed weights and scratch.
#ifndef TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_H_
#define TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_H_

#include "quantized_depthwise_conv2d_params.h"
#include "simd/checked.h"
#include "simd/requantize.h"

namespace {

enum { QDW_X = 0, QDW_WEIGHT, QDW_BIAS, QDW_SCALE, QDW_INPUTS, QDW_LANES = 16, QDW_ROWS = 4 };

// Weights are [blocks][kw][quads][QDW_LANES][4]: a block is 16 channels, a quad four rows of the filter, zeros beyond the last.
struct QDepthwise {
  const tc_quantized_depthwise_conv2d_params* p;
  const tc_view *x, *y;
  const int8_t* weight;
  const int32_t *bias, *sums;  // bias, less the zero point's share; the sum of each channel's weights
  const float* scale;
  int64_t n, h, w, c, oh, ow, blocks, quads;
  int64_t span;  // columns that an output row reads, borders included
  Limits to;
};

inline QDepthwise qdepthwise_of(const tc_call* call) {
  QDepthwise v = {};
  v.p = (const tc_quantized_depthwise_conv2d_params*)call->params;
  v.x = &call->inputs[QDW_X];
  v.y = &call->outputs[0];
  v.weight = (const int8_t*)call->inputs[QDW_WEIGHT].data;
  v.n = v.x->dims[0];
  v.h = v.x->dims[1];
  v.w = v.x->dims[2];
  v.c = v.x->dims[3];
  v.oh = v.y->dims[1];
  v.ow = v.y->dims[2];
  v.blocks = (v.c + QDW_LANES - 1) / QDW_LANES;
  v.quads = (v.p->kernel[0] + 3) / 4;
  v.span = (v.ow - 1) * v.p->strides[1] + (int64_t)(v.p->kernel[1] - 1) * v.p->dilations[1] + 1;
  v.bias = (const int32_t*)call->inputs[QDW_BIAS].data;
  v.sums = v.bias + v.blocks * QDW_LANES;
  v.scale = (const float*)call->inputs[QDW_SCALE].data;
  v.to = {v.p->y_zero, v.p->low, v.p->high};
  return v;
}

// Scratch of one thread: what an output row reads of 64 channels, four rows to a quad, and weights for QDW_ROWS output rows (strip.h).
inline Checked qdepthwise_scratch_bytes(const QDepthwise& v) {
  const Checked columns = Checked(v.span) + 4 * (int64_t)v.p->strides[1] + 4 + QDW_ROWS * (int64_t)v.p->kernel[1];
  return columns * v.quads * (4 * 64);
}

}  // namespace

#endif
