// What check, the portable row and the fast rows of conv_transpose2d agree on.
//
// An output pixel (oy, ox) sums input pixels iy = (oy + top - ky * dilation) / stride over the taps ky for which that divides. Which taps
// do depends on the residue (oy + top) mod stride only: its *phase*. Each phase (ry, rx) is a small convolution with its own taps, whose
// weights are packed together: rows in the order ky descending, kx descending, c (so that the input is walked upwards).
#ifndef TIERCAST_CONV_TRANSPOSE2D_H_
#define TIERCAST_CONV_TRANSPOSE2D_H_

#include "conv_transpose2d_params.h"
#include "simd/checked.h"
#include "simd/panels.h"

namespace {

enum { CT_X = 0, CT_WEIGHT, CT_BIAS, CT_SLOPE, CT_INPUTS };

// The taps of one residue along one axis: last, last - step, ... (count of them).
struct Taps {
  int64_t last, step, count;
};

inline int64_t common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

inline Taps taps_of(int64_t residue, int64_t kernel, int64_t stride, int64_t dilation) {
  const int64_t step = stride / common_divisor(stride, dilation);
  for (int64_t first = 0; first < step && first < kernel; ++first) {
    if (first * dilation % stride != residue) continue;
    const int64_t count = (kernel - 1 - first) / step + 1;
    return {first + (count - 1) * step, step, count};
  }
  return {0, step, 0};
}

struct Transposed {
  const tc_conv_transpose2d_params* p;
  const tc_view *x, *y;
  const E *weight, *bias, *slope;
  int64_t n, h, w, c, oh, ow, oc, padded;  // c, oc, padded: of one group
};

inline Transposed transposed_of(const tc_call* call) {
  Transposed v = {};
  v.p = (const tc_conv_transpose2d_params*)call->params;
  v.x = &call->inputs[CT_X];
  v.y = &call->outputs[0];
  v.weight = (const E*)call->inputs[CT_WEIGHT].data;
  v.bias = (const E*)call->inputs[CT_BIAS].data;
  v.slope = (const E*)call->inputs[CT_SLOPE].data;
  v.n = v.x->dims[0];
  v.h = v.x->dims[1];
  v.w = v.x->dims[2];
  v.c = v.x->dims[3] / v.p->group;
  v.oh = v.y->dims[1];
  v.ow = v.y->dims[2];
  v.oc = v.y->dims[3] / v.p->group;
  v.padded = padded_columns(v.oc, v.p->granule);
  return v;
}

inline Taps taps_along(const Transposed& v, int axis, int64_t residue) {
  return taps_of(residue, v.p->kernel[axis], v.p->strides[axis], v.p->dilations[axis]);
}

// Packed rows of one phase.
inline int64_t phase_rows(const Transposed& v, int64_t ry, int64_t rx) {
  return taps_along(v, 0, ry).count * taps_along(v, 1, rx).count * v.c;
}

// Where the packed weights of a phase start within its group's kh * kw * c * padded floats.
inline int64_t phase_offset(const Transposed& v, int64_t ry, int64_t rx) {
  int64_t rows = 0;
  for (int64_t i = 0; i < ry; ++i) rows += taps_along(v, 0, i).count * v.p->kernel[1] * v.c;
  for (int64_t i = 0; i < rx; ++i) rows += phase_rows(v, ry, i);
  return rows * v.padded;
}

// First output index of a residue along an axis.
inline int64_t first_output(int64_t residue, int64_t pad, int64_t stride) { return ((residue - pad) % stride + stride) % stride; }

// Scratch of one thread: `block` gathered rows of the longest phase.
inline Checked transposed_scratch_bytes(const tc_conv_transpose2d_params* p, int64_t channels) {
  Checked rows = Checked(channels) * p->block * (int64_t)sizeof(E);
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t step = p->strides[axis] / common_divisor(p->strides[axis], p->dilations[axis]);
    rows = rows * ((p->kernel[axis] + step - 1) / step);
  }
  return rows;
}

}  // namespace

#endif
