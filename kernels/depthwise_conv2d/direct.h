// depthwise_conv2d, vectors over channels. Square kernels of 3 and 5 taps go through the tiles of tile.h, all others row by row (line.h).
// Include one ISA's header and define TC_COLUMNS (output columns of a tile) first.
#ifndef TIERCAST_DEPTHWISE_CONV2D_DIRECT_H_
#define TIERCAST_DEPTHWISE_CONV2D_DIRECT_H_

#include "depthwise_conv2d/line.h"
#include "depthwise_conv2d/strip.h"

namespace {

// Channels go in blocks whose input rows stay in the first-level cache from one pair of output rows to the next, while the whole image is
// in the second-level one; narrow pieces of a larger image would be fetched badly.
enum { LINES_BYTES = 48 * 1024, IMAGE_BYTES = 512 * 1024 };

// How one call is cut up: groups of output rows, times splits of the channels when there are few rows.
struct Cut {
  Depthwise v;
  Epilogue epilogue;
  bool tiled;
  Strip strip;     // of a tiled call
  int64_t groups;  // per image
  int64_t unit;    // channels that are computed together
  int64_t splits;  // every split has at least a unit unless there is one
  int64_t block;   // channels at a time, so that LINES_BYTES hold the input rows
};

inline bool is_tiled(const Depthwise& v) {
  const tc_depthwise_conv2d_params* p = v.p;
  const bool plain = p->dilations[0] == 1 && p->dilations[1] == 1;
  return v.c >= TILE_CHANNELS && p->kernel[0] == p->kernel[1] && p->strides[0] == p->strides[1] && has_tiles(p->kernel[0], p->strides[0]) &&
         (plain || p->strides[0] == 1);
}

inline Filter filter_of(const Depthwise& v, const Epilogue& e) {
  Filter f = {};
  f.weight = v.weight;
  f.bias = v.bias;
  f.slope = v.slope;
  f.c = v.c;
  f.x_pitch = v.x->strides[2];
  f.y_pitch = v.y->strides[2];
  f.residual_pitch = v.residual == nullptr ? 0 : v.residual->strides[2];
  f.activation = tile_applies(e.activation) ? e.activation : (int32_t)TC_ACTIVATION_NONE;
  f.lo = clamp_low(e);
  f.hi = clamp_high(e);
  return f;
}

// Output rows `dilation` apart share input rows: a group is those of a tile.
inline int64_t group_row(const Cut& cut, int64_t group) {
  const int64_t dilation = cut.v.p->dilations[0];
  return cut.tiled ? group / dilation * TILE_ROWS * dilation + group % dilation : group;
}

inline Cut cut_of(const tc_call* call) {
  Cut cut = {};
  cut.v = depthwise_of(call);
  const Depthwise& v = cut.v;
  const tc_depthwise_conv2d_params* p = v.p;
  cut.epilogue = {p->activation, p->alpha, p->beta, p->residual_mode, v.slope};
  cut.tiled = is_tiled(v);
  cut.unit = cut.tiled ? TILE_CHANNELS : VL;
  cut.groups = v.oh;
  cut.block = v.c;
  if (cut.tiled) {
    const int64_t together = TILE_ROWS * (int64_t)p->dilations[0];
    cut.strip = strip_of(filter_of(v, cut.epilogue), p->kernel[1], p->strides[1], v.w, v.ow, p->dilations[1], p->pads[1], p->pad_mode);
    cut.groups = (v.oh + together - 1) / together * p->dilations[0];
    const int64_t floats = IMAGE_BYTES / (int64_t)sizeof(E);
    const int64_t fit = LINES_BYTES / (int64_t)sizeof(E) / (v.w * tile_lines(cut.strip.tiles, TILE_ROWS)) / cut.unit * cut.unit;
    if (fit >= cut.unit && v.c <= floats / v.h / v.w) cut.block = fit;
  }
  const int64_t outer = v.n * cut.groups, units = v.c / cut.unit;
  const int64_t wanted = outer >= 8 ? 1 : (8 + outer - 1) / outer;
  cut.splits = units < 1 ? 1 : wanted < units ? wanted : units;
  return cut;
}

int64_t work(const tc_call* call) {
  const Cut cut = cut_of(call);
  return cut.v.n * cut.groups * cut.splits;
}

inline const E* image_row(const Depthwise& v, int64_t n, int64_t row) {
  const int64_t at = pad_index(row, v.h, v.p->pad_mode);
  return at < 0 ? nullptr : (const E*)v.x->data + n * v.x->strides[0] + at * v.x->strides[1];
}

inline E* output_row(const Depthwise& v, int64_t n, int64_t oy) { return (E*)v.y->data + n * v.y->strides[0] + oy * v.y->strides[1]; }

inline const E* residual_row(const Depthwise& v, int64_t n, int64_t oy) {
  if (v.residual == nullptr) return nullptr;
  return (const E*)v.residual->data + n * v.residual->strides[0] + oy * v.residual->strides[1];
}

// What a row's tiles could not do: activations that need more room, late residuals.
inline void finish_row(const Cut& cut, int64_t n, int64_t oy, int64_t begin, int64_t end) {
  const Depthwise& v = cut.v;
  Epilogue e = cut.epilogue;
  if (cut.tiled && tile_applies(e.activation)) e.activation = TC_ACTIVATION_NONE;
  if (!needs_finish(e)) return;
  const E* residual = residual_row(v, n, oy);
  finish(e, (int)v.ow, end - begin, v.slope == nullptr ? nullptr : v.slope + begin, residual == nullptr ? nullptr : residual + begin,
         v.residual == nullptr ? 0 : v.residual->strides[2], output_row(v, n, oy) + begin, v.y->strides[2]);
}

// Row oy and the others of its tile that there are.
inline void run_tiled(const Cut& cut, int64_t n, int64_t oy, int64_t begin, int64_t end) {
  const Depthwise& v = cut.v;
  const tc_depthwise_conv2d_params* p = v.p;
  StripRows rows = {};
  rows.count = oy + p->dilations[0] < v.oh ? TILE_ROWS : 1;
  for (int64_t i = 0; i < tile_lines(cut.strip.tiles, rows.count); ++i) {
    rows.x[i] = image_row(v, n, oy * p->strides[0] - p->pads[0] + i * p->dilations[0]);
  }
  for (int r = 0; r < rows.count; ++r) {
    rows.y[r] = output_row(v, n, oy + r * p->dilations[0]);
    rows.residual[r] = late_residual(p->residual_mode) ? nullptr : residual_row(v, n, oy + r * p->dilations[0]);
  }
  run_strip(cut.strip, rows, begin, end);
  for (int r = 0; r < rows.count; ++r) finish_row(cut, n, oy + r * p->dilations[0], begin, end);
}

inline void run_single(const Cut& cut, int64_t n, int64_t oy, int64_t begin, int64_t end) {
  const Depthwise& v = cut.v;
  const tc_depthwise_conv2d_params* p = v.p;
  const E* rows[MAX_KERNEL_ROWS];
  for (int64_t ky = 0; ky < p->kernel[0]; ++ky) rows[ky] = image_row(v, n, oy * p->strides[0] - p->pads[0] + ky * p->dilations[0]);
  const Line line = {&v,
                     rows,
                     output_row(v, n, oy),
                     late_residual(p->residual_mode) ? nullptr : residual_row(v, n, oy),
                     v.y->strides[2],
                     v.residual == nullptr ? 0 : v.residual->strides[2],
                     v.x->strides[2],
                     clamp_low(cut.epilogue),
                     clamp_high(cut.epilogue)};
  run_line(line, begin, end);
  finish_row(cut, n, oy, begin, end);
}

// The `index`-th block of channels of a split, for all items: then the next one.
void run(const tc_call* call, int64_t begin, int64_t end) {
  const Cut cut = cut_of(call);
  const Depthwise& v = cut.v;
  const int64_t units = v.c / cut.unit;
  for (int64_t first = 0; first < v.c; first += cut.block) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t split = item % cut.splits, group = item / cut.splits;
      const int64_t split_end = split + 1 == cut.splits ? v.c : units * (split + 1) / cut.splits * cut.unit;
      const int64_t from = units * split / cut.splits * cut.unit + first;
      const int64_t left = split_end - from, to = left >= cut.block + cut.unit ? from + cut.block : split_end;
      const int64_t oy = group_row(cut, group % cut.groups);
      if (left < cut.unit && first > 0) continue;  // the block before took it
      if (oy >= v.oh) continue;
      (cut.tiled ? run_tiled : run_single)(cut, group / cut.groups, oy, from, to);
    }
  }
}

}  // namespace

#endif
