// quantized_conv2d as a product of matrices of bytes: pixels' taps are gathered into rows of scratch, with the sign that the row's dot
// products want; blocks of such rows meet all panels of weights.
#ifndef TIERCAST_QUANTIZED_CONV2D_GATHERED_H_
#define TIERCAST_QUANTIZED_CONV2D_GATHERED_H_

#include "quantized_conv2d/quantized_conv2d.h"
#include "simd/dot_tile.h"

namespace {

struct QPlan {
  QConv v;
  bool flat;  // y's pixels lie evenly apart over all rows and images
  int64_t blocks, panels, splits;
};

inline bool evenly_apart(const tc_view& y) {
  const bool rows = y.dims[1] == 1 || y.strides[1] == y.dims[2] * y.strides[2];
  const bool images = y.dims[0] == 1 || y.strides[0] == y.dims[1] * y.dims[2] * y.strides[2];
  return rows && images && y.dims[2] > 1;
}

inline QPlan qplan_of(const tc_call* call) {
  QPlan plan = {};
  plan.v = qconv_of(call);
  plan.flat = evenly_apart(*plan.v.y);
  plan.blocks = (plan.v.pixels + plan.v.p->block - 1) / plan.v.p->block;
  plan.panels = panel_count(plan.v.padded, plan.v.p->panel);
  // Fewer than 8 items leave threads idle: split the columns too.
  const int64_t outer = plan.blocks * plan.v.p->group;
  const int64_t wanted = outer >= 8 ? 1 : (8 + outer - 1) / outer;
  plan.splits = wanted < plan.panels ? wanted : plan.panels;
  return plan;
}

// `count` taps of one kernel row, `step` apart, of image row `line` (NULL: outside); the first is column ix.
TC_INLINE void gather_taps(const QConv& v, const int8_t* line, int64_t ix, uint8_t* to) {
  const int64_t taps = v.p->kernel[1], step = v.p->dilations[1];
  if (line == nullptr) {
    fill_bytes(to, taps * v.c, (uint8_t)v.p->x_zero ^ DOT_FLIP);
    return;
  }
  const int64_t last = ix + (taps - 1) * step;
  if (ix >= 0 && last < v.w && (taps == 1 || (step == 1 && v.x->strides[2] == v.c))) {
    flip_bytes(to, line + ix * v.x->strides[2], taps * v.c);
    return;
  }
  for (int64_t kx = 0; kx < taps; ++kx, ix += step, to += v.c) {
    if (ix < 0 || ix >= v.w) {
      fill_bytes(to, v.c, (uint8_t)v.p->x_zero ^ DOT_FLIP);
    } else {
      flip_bytes(to, line + ix * v.x->strides[2], v.c);
    }
  }
}

enum { LINES = 16 };  // kernel rows whose addresses are kept

// All taps of `count` pixels of output row oy, from ox on, and of group g.
inline void gather_row(const QConv& v, int64_t n, int64_t oy, int64_t ox, int64_t count, int64_t g, uint8_t* to) {
  const tc_quantized_conv2d_params* p = v.p;
  const int8_t* image = (const int8_t*)v.x->data + n * v.x->strides[0] + g * v.c;
  const int64_t top = oy * p->strides[0] - p->pads[0], taps = p->kernel[1] * v.c, reach = (int64_t)(p->kernel[1] - 1) * p->dilations[1];
  const bool joined = p->kernel[1] == 1 || (p->dilations[1] == 1 && v.x->strides[2] == v.c);
  const int8_t* lines[LINES];
  bool inside = joined && p->kernel[0] <= LINES;
  for (int64_t ky = 0; ky < p->kernel[0] && inside; ++ky) {
    const int64_t iy = top + ky * p->dilations[0];
    inside = iy >= 0 && iy < v.h;
    lines[ky] = inside ? image + iy * v.x->strides[1] : nullptr;
  }
  for (int64_t i = 0; i < count; ++i, to += v.pitch) {
    const int64_t left = (ox + i) * p->strides[1] - p->pads[1];
    if (inside && left >= 0 && left + reach < v.w) {
      const int64_t offset = left * v.x->strides[2];
      for (int64_t ky = 0; ky < p->kernel[0]; ++ky) flip_bytes(to + ky * taps, lines[ky] + offset, taps);
      continue;
    }
    for (int64_t ky = 0; ky < p->kernel[0]; ++ky) {
      const int64_t iy = top + ky * p->dilations[0];
      gather_taps(v, iy < 0 || iy >= v.h ? nullptr : image + iy * v.x->strides[1], left, to + ky * taps);
    }
  }
}

// All pixels of a block, which may go over output rows.
inline void gather_block(const QConv& v, int64_t start, int64_t count, int64_t g, uint8_t* rows) {
  for (int64_t done = 0; done < count;) {
    const int64_t pixel = start + done, ox = pixel % v.ow, line = pixel / v.ow;
    const int64_t run = v.ow - ox < count - done ? v.ow - ox : count - done;
    gather_row(v, line / v.oh, line % v.oh, ox, run, g, rows + done * v.pitch);
    done += run;
  }
}

// The block's pixels times panels [first, last) of group g.
inline void multiply_block(const QPlan& plan, const uint8_t* rows, int64_t start, int64_t count, int64_t g, int64_t first, int64_t last) {
  const QConv& v = plan.v;
  const int64_t base = g * v.padded;
  for (int64_t panel = first; panel < last; ++panel) {
    const int64_t column = panel_start(panel, v.padded, v.p->panel);
    const int32_t width = panel_width(column, v.padded, v.p->panel);
    const int64_t real = v.oc - column < width ? v.oc - column : width;
    DotPanel b = {v.weight + (base + column) * v.quads * 4, v.quads, width, real};
    b.bias = v.bias + base + column;
    b.sums = v.sums + base + column;
    b.scale = v.scale + base + column;
    for (int64_t done = 0; done < count;) {
      const int64_t pixel = start + done, ox = pixel % v.ow, line = pixel / v.ow, left = count - done;
      const int64_t run = plan.flat || v.ow - ox > left ? left : v.ow - ox;
      const int64_t at = line / v.oh * v.y->strides[0] + line % v.oh * v.y->strides[1] + ox * v.y->strides[2] + g * v.oc + column;
      const DotOut out = {v.y, at, v.y->strides[2], v.to};
#ifdef TC_NARROW
      if (width < DOT_LANES) {
        narrow_rows(rows + done * v.pitch, v.pitch, run, {1, v.quads, {0}}, b, out);
        done += run;
        continue;
      }
#endif
      dot_rows(rows + done * v.pitch, v.pitch, run, b, out);
      done += run;
    }
  }
}

inline int64_t gathered_work(const tc_call* call) {
  const QPlan plan = qplan_of(call);
  return plan.blocks * plan.v.p->group * plan.splits;
}

// One item is a block of pixels, of one group, times a share of its panels.
inline void gathered_run(const tc_call* call, int64_t begin, int64_t end) {
  const QPlan plan = qplan_of(call);
  const QConv& v = plan.v;
  uint8_t* rows = (uint8_t*)call->scratch;
  for (int64_t item = begin, gathered = -1; item < end; ++item) {
    const int64_t split = item % plan.splits, outer = item / plan.splits, g = outer % v.p->group;
    const int64_t start = outer / v.p->group * v.p->block;
    const int64_t count = v.pixels - start < v.p->block ? v.pixels - start : v.p->block;
    if (outer != gathered) {
      gather_block(v, start, count, g, rows);
      gathered = outer;
    }
    multiply_block(plan, rows, start, count, g, split * plan.panels / plan.splits, (split + 1) * plan.panels / plan.splits);
  }
}

}  // namespace

#endif
