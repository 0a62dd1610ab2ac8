// What check, the portable row and the fast rows of winograd_conv2d agree on: operands, tiles and the scratch they need.
//
// F(m x m, r x r): a tile of m x m outputs needs a = m + r - 1 input rows and columns; a * a products per tile and pair of channels stand
// for r * r * m * m. The weight is transformed already: for each panel of output channels (simd/panels.h) and each of the a * a points a
// matrix [c][width]. A dilated convolution is dilation[0] * dilation[1] plain ones on every dilation-th pixel, its *phases*.
#ifndef TIERCAST_WINOGRAD_CONV2D_H_
#define TIERCAST_WINOGRAD_CONV2D_H_

#include "channel_statistics/bands.h"
#include "conv2d/padding.h"
#include "simd/panels.h"
#include "tiercast/kernel.h"
#include "winograd_conv2d_params.h"

namespace {

enum { WINO_X = 0, WINO_WEIGHT, WINO_BIAS, WINO_SLOPE, WINO_RESIDUAL, WINO_INPUTS };
// One axis: output positions fall into `phases`; each has `tiles` tiles of m, the last ones perhaps beyond the output's end.
struct Axis {
  int64_t in, often, out, dilation, before, phases, tiles;  // in: of the enlarged image, which has each pixel so `often`
  int64_t beyond;                                           // from the first tap to the last

  // Input index of row i of the tile, or -1 for a zero.
  int64_t input(int64_t phase, int64_t first, int64_t i, int32_t mode) const {
    const int64_t at = phase + (first + i) * dilation - before;
    const int64_t found = at > out - 1 + beyond - before ? -1 : pad_index(at, in, mode);
    return found < 0 ? -1 : found / often;
  }
};

inline Axis axis_of(const tc_winograd_conv2d_params* p, const tc_view& x, const tc_view& y, int axis, int64_t m) {
  const int64_t out = y.dims[axis + 1], dilation = p->dilations[axis];
  const int64_t phases = dilation < out ? dilation : out;
  const int64_t longest = (out + phases - 1) / phases;
  return {enlarged(p, x, axis),
          p->upsample[axis],
          out,
          dilation,
          p->pads[axis],
          phases,
          (longest + m - 1) / m,
          (p->kernel[axis] - 1) * (int64_t)dilation};
}

// Tiles side by side share the transformed columns where they overlap: a strip of this many is transformed at a time.
enum { STRIP_TILES = 8, STRIP_LANES = 16 };
// Between the matrices of two points: a multiple of the page size would put all of them into the same lines of the first-level cache.
enum { POINT_GAP = 16 };
// Rows that pack tiles by twelve fill up the last four, and need twelve more for what is not packed yet.
enum { SPARE_TILES = 3 + 12 };

struct Winograd {
  const tc_winograd_conv2d_params* p;
  const tc_view *x, *y, *residual;  // residual: NULL when there is none
  const tc_view* statistics;        // of y, [1, bands, 3, OC]; NULL when none are asked for
  const float *weight, *bias, *slope;
  int64_t n, c, oc, padded;  // padded: packed columns of products, gates too
  int64_t pitch, width;      // of a tile's transformed inputs, in whole vectors of every ISA; of the widest panel
  Axis rows, columns;
  int64_t tiles;  // of all images and phases
};

inline Winograd winograd_of(const tc_call* call, int64_t m) {
  Winograd v = {};
  v.p = (const tc_winograd_conv2d_params*)call->params;
  v.x = &call->inputs[WINO_X];
  v.y = &call->outputs[0];
  v.weight = (const float*)call->inputs[WINO_WEIGHT].data;
  v.bias = (const float*)call->inputs[WINO_BIAS].data;
  v.slope = (const float*)call->inputs[WINO_SLOPE].data;
  v.residual = v.p->residual_mode == TC_RESIDUAL_NONE ? nullptr : &call->inputs[WINO_RESIDUAL];
  v.statistics = call->output_count > 1 ? &call->outputs[1] : nullptr;
  v.n = v.x->dims[0];
  v.c = v.x->dims[3];
  v.oc = v.y->dims[3];
  v.padded = padded_columns(v.p->gated != 0 ? 2 * v.oc : v.oc, v.p->granule);
  v.pitch = (v.c + STRIP_LANES - 1) / STRIP_LANES * STRIP_LANES;
  v.width = v.padded < v.p->panel ? v.padded : v.p->panel;
  v.rows = axis_of(v.p, *v.x, *v.y, 0, m);
  v.columns = axis_of(v.p, *v.x, *v.y, 1, m);
  v.tiles = v.n * v.rows.phases * v.rows.tiles * v.columns.phases * v.columns.tiles;
  return v;
}

// Into how many groups `pieces` of work fall: with statistics there is at most one per band, which is written by one item.
inline int64_t group_count(const Winograd& v, int64_t pieces) {
  return v.statistics == nullptr ? pieces : smaller(pieces, v.statistics->dims[1]);
}

// Empties the bands that no group has, where there are statistics.
inline void clear_bands(const Winograd& v, int64_t groups) {
  for (int64_t i = groups; v.statistics != nullptr && i < v.statistics->dims[1]; ++i) {
    for (int64_t row = 0; row < 3; ++row) {
      float* to = band_at(*v.statistics, 0, i) + row * v.statistics->strides[2];
      for (int64_t c = 0; c < v.oc; ++c) to[c] = 0.0f;
    }
  }
}

// Scratch of one thread: transformed inputs of a block, products of one panel, one strip.
inline Checked winograd_scratch_bytes(const Winograd& v, int64_t m) {
  const int64_t r = v.p->kernel[0], reach = m + r - 1, points = reach * reach, strip = reach * (STRIP_TILES * m + r - 1) * STRIP_LANES;
  const Checked inputs = (Checked(v.p->block + SPARE_TILES) * v.pitch + POINT_GAP) * points;
  const Checked products = (Checked(v.p->block) * v.width + POINT_GAP) * points;
  return (inputs + products.value + strip) * (int64_t)sizeof(float);
}

}  // namespace

#endif
