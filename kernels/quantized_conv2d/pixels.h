// quantized_conv2d on NEON: blocks of pixels, each a row of bytes, meet all panels of weights. Rows of a 1x1 convolution are x itself;
// other pixels' taps are gathered into scratch. Where dot products want quads several times (DOT_COPIES), blocks are that much smaller.
#ifndef TIERCAST_QUANTIZED_CONV2D_PIXELS_H_
#define TIERCAST_QUANTIZED_CONV2D_PIXELS_H_

#include "quantized_conv2d/quantized_conv2d.h"
#include "simd/dot_rows.h"

namespace {

enum { LINES = 16 };  // kernel rows whose addresses are kept

struct QPlan {
  QConv v;
  bool direct;     // pixels of x are rows
  int64_t x_step;  // then: bytes between them
  int64_t y_step;  // elements between pixels of y; 0: not the same everywhere
  int64_t row;     // bytes of a row in scratch
  int64_t block;   // pixels
  int64_t blocks, panels, splits;
  const int8_t* end;  // behind x's last byte
};

// Elements between neighbouring pixels of [N,H,W,C], 0 where they are not evenly apart.
inline int64_t even_step(const tc_view& v) {
  int64_t step = 0, count = 1;
  for (int axis = 2; axis >= 0; --axis) {
    if (v.dims[axis] == 1) continue;
    if (count == 1) step = v.strides[axis];
    if (v.strides[axis] != step * count) return 0;
    count *= v.dims[axis];
  }
  return count == 1 ? v.dims[3] : step;
}

inline QPlan qplan_of(const tc_call* call) {
  QPlan plan = {};
  plan.v = qconv_of(call);
  const QConv& v = plan.v;
  const tc_quantized_conv2d_params* p = v.p;
  plan.y_step = even_step(*v.y);
  plan.x_step = even_step(*v.x);
  const bool whole =
      p->kernel[0] == 1 && p->kernel[1] == 1 && p->strides[0] == 1 && p->strides[1] == 1 && p->pads[0] == 0 && p->pads[1] == 0;
  plan.direct = whole && v.oh == v.h && v.ow == v.w && plan.x_step > 0 && v.c % 4 == 0;
  plan.row = DOT_COPIES == 1 ? v.pitch : v.quads * 4 * DOT_COPIES;
  // One gathered pixel stands behind the copies.
  plan.block = DOT_COPIES == 1 ? p->block : (p->block - 1) / DOT_COPIES / 4 * 4;
  plan.blocks = (v.pixels + plan.block - 1) / plan.block;
  plan.panels = panel_count(v.padded, p->panel);
  // Fewer than 8 items leave threads idle: split the columns too.
  const int64_t outer = plan.blocks * p->group;
  const int64_t wanted = outer >= 8 ? 1 : (8 + outer - 1) / outer;
  plan.splits = wanted < plan.panels ? wanted : plan.panels;
  plan.end = (const int8_t*)v.x->data + 1;
  for (int axis = 0; axis < 4; ++axis) plan.end += (v.x->dims[axis] - 1) * v.x->strides[axis];
  return plan;
}

// to[0..n) = from; up to 15 bytes behind are written too.
TC_INLINE void copy_taps(int8_t* to, const int8_t* from, int64_t n, const int8_t* end) {
  if (end - from >= n + 15) {
    for (int64_t i = 0; i < n; i += 16) vst1q_s8(to + i, vld1q_s8(from + i));
  } else {
    memcpy(to, from, (size_t)n);
  }
}

TC_INLINE void fill_taps(int8_t* to, int64_t n, int8_t value) {
  const int8x16_t all = vdupq_n_s8(value);
  for (int64_t i = 0; i < n; i += 16) vst1q_s8(to + i, all);
}

// Every quad four times. Reads no byte behind the quads.
TC_INLINE void copy_quads(int8_t* to, const int8_t* from, int64_t quads) {
  for (; quads >= 4; quads -= 4, from += 16, to += 4 * DOT_QUAD) {
    const int32x4_t four = vreinterpretq_s32_s8(vld1q_s8(from));
    vst1q_s8(to, vreinterpretq_s8_s32(vdupq_lane_s32(vget_low_s32(four), 0)));
    vst1q_s8(to + DOT_QUAD, vreinterpretq_s8_s32(vdupq_lane_s32(vget_low_s32(four), 1)));
    vst1q_s8(to + 2 * DOT_QUAD, vreinterpretq_s8_s32(vdupq_lane_s32(vget_high_s32(four), 0)));
    vst1q_s8(to + 3 * DOT_QUAD, vreinterpretq_s8_s32(vdupq_lane_s32(vget_high_s32(four), 1)));
  }
  for (; quads > 0; --quads, from += 4, to += DOT_QUAD) {
    int32_t quad;
    memcpy(&quad, from, 4);
    vst1q_s8(to, vreinterpretq_s8_s32(vdupq_n_s32(quad)));
  }
}

// Taps of one kernel row of image row `line` (NULL: outside); the first is column ix.
inline void gather_taps(const QPlan& plan, const int8_t* line, int64_t ix, int8_t* to) {
  const QConv& v = plan.v;
  const int64_t taps = v.p->kernel[1], step = v.p->dilations[1];
  for (int64_t kx = 0; kx < taps; ++kx, ix += step, to += v.c) {
    if (line == nullptr || ix < 0 || ix >= v.w) {
      fill_taps(to, v.c, (int8_t)v.p->x_zero);
    } else {
      copy_taps(to, line + ix * v.x->strides[2], v.c, plan.end);
    }
  }
}

// All taps of `count` pixels of output row oy, from ox on, and of group g: rows `first`, first + 1...
inline void gather_row(const QPlan& plan, int64_t n, int64_t oy, int64_t ox, int64_t count, int64_t g, int8_t* rows, int64_t first) {
  const QConv& v = plan.v;
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
  for (int64_t i = 0; i < count; ++i) {
    const int64_t left = (ox + i) * p->strides[1] - p->pads[1];
    int8_t* row = rows + (DOT_COPIES == 1 ? first + i : plan.block) * plan.row;
    if (inside && left >= 0 && left + reach < v.w) {
      const int64_t offset = left * v.x->strides[2];
      for (int64_t ky = 0; ky < p->kernel[0]; ++ky) copy_taps(row + ky * taps, lines[ky] + offset, taps, plan.end);
    } else {
      for (int64_t ky = 0; ky < p->kernel[0]; ++ky) {
        const int64_t iy = top + ky * p->dilations[0];
        gather_taps(plan, iy < 0 || iy >= v.h ? nullptr : image + iy * v.x->strides[1], left, row + ky * taps);
      }
    }
    if (DOT_COPIES != 1) copy_quads((int8_t*)row_at(rows, plan.row, first + i), row, v.quads);
  }
}

// Rows of a block of pixels, which may go over output rows, in scratch.
inline void gather_block(const QPlan& plan, int64_t start, int64_t count, int64_t g, int8_t* rows) {
  const QConv& v = plan.v;
  if (plan.direct) {
    const int8_t* x = (const int8_t*)v.x->data + start * plan.x_step + g * v.c;
    for (int64_t i = 0; i < count; ++i) copy_quads((int8_t*)row_at(rows, plan.row, i), x + i * plan.x_step, v.quads);
    return;
  }
  for (int64_t done = 0; done < count;) {
    const int64_t pixel = start + done, ox = pixel % v.ow, line = pixel / v.ow;
    const int64_t run = v.ow - ox < count - done ? v.ow - ox : count - done;
    gather_row(plan, line / v.oh, line % v.oh, ox, run, g, rows, done);
    done += run;
  }
}

// The block's rows, `step` bytes apart, times panels [first, last) of group g.
inline void multiply_block(const QPlan& plan, const int8_t* rows, int64_t step, int64_t start, int64_t count, int64_t g, int64_t first,
                           int64_t last) {
  const QConv& v = plan.v;
  const int64_t base = g * v.padded, pitch = plan.y_step > 0 ? plan.y_step : v.y->strides[2];
  for (int64_t panel = first; panel < last; ++panel) {
    const int64_t column = panel_start(panel, v.padded, v.p->panel);
    const int32_t width = panel_width(column, v.padded, v.p->panel);
    DotPanel b = {v.weight + (base + column) * v.quads * 4, v.quads, width};
    b.real = v.oc - column < width ? v.oc - column : width;
    b.small = v.p->small != 0;
    b.bias = v.bias + base + column;
    b.scale = v.scale + base + column;
    for (int64_t done = 0; done < count;) {
      const int64_t pixel = start + done, left = count - done;
      int64_t run = left, at = pixel * pitch;
      if (plan.y_step == 0) {
        const int64_t ox = pixel % v.ow, line = pixel / v.ow;
        run = v.ow - ox > left ? left : v.ow - ox;
        if (DOT_COPIES != 1 && done % 4 != 0 && run > 4 - done % 4) run = 4 - done % 4;
        at = line / v.oh * v.y->strides[0] + line % v.oh * v.y->strides[1] + ox * pitch;
      }
      dot_rows(row_at(rows, step, done), step, run, b, {v.y, at + g * v.oc + column, pitch, v.to});
      done += run;
    }
  }
}

int64_t work(const tc_call* call) {
  const QPlan plan = qplan_of(call);
  return plan.blocks * plan.v.p->group * plan.splits;
}

// One item is a block of pixels, of one group, times a share of its panels.
void run(const tc_call* call, int64_t begin, int64_t end) {
  const QPlan plan = qplan_of(call);
  const QConv& v = plan.v;
  const bool as_they_are = plan.direct && DOT_COPIES == 1;
  for (int64_t item = begin, gathered = -1; item < end; ++item) {
    const int64_t split = item % plan.splits, outer = item / plan.splits, g = outer % v.p->group;
    const int64_t start = outer / v.p->group * plan.block;
    const int64_t count = v.pixels - start < plan.block ? v.pixels - start : plan.block;
    const int8_t* rows = as_they_are ? (const int8_t*)v.x->data + start * plan.x_step + g * v.c : (const int8_t*)call->scratch;
    if (outer != gathered && !as_they_are) gather_block(plan, start, count, g, (int8_t*)call->scratch);
    gathered = outer;
    multiply_block(plan, rows, as_they_are ? plan.x_step : plan.row, start, count, g, split * plan.panels / plan.splits,
                   (split + 1) * plan.panels / plan.splits);
  }
}

}  // namespace

#endif
