// quantized_conv2d on NEON: blocks of pixels, each a row of bytes, meet all panels of weights. Rows of a 1x1 convolution are x itself, and
// so are, in pieces, those of pixels whose taps all lie inside the image; other pixels' taps are gathered into scratch. Where dot products
// want rows prepared (simd/dot_<isa>.h), all of a block's stand prepared in scratch; or lines of what their taps read stand there, spread,
// which they are pieces of.
#ifndef TIERCAST_QUANTIZED_CONV2D_PIXELS_H_
#define TIERCAST_QUANTIZED_CONV2D_PIXELS_H_

#include "quantized_conv2d/quantized_conv2d.h"
#include "simd/dot_rows.h"

namespace {

enum { LINES = 16, PIECES = 64 };  // kernel rows whose addresses are kept; pieces of a row

struct QPlan {
  QConv v;
  bool direct;     // pixels of x are rows
  bool prepared;   // rows are prepared
  int64_t patch;   // pixels of an output row whose taps' lines fit into scratch, spread; 0: they are not spread
  int64_t line;    // then: bytes of such a line
  int64_t pieces;  // of rows that are not gathered; 0: all are
  int64_t piece;   // quads of one
  int64_t at[PIECES];
  int64_t x_step;  // of direct: bytes between pixels
  int64_t y_step;  // elements between pixels of y; 0: not the same everywhere
  int64_t row;     // bytes of a row in scratch
  int64_t panel;   // bytes of a prepared panel, behind the rows; one gathered row stands behind that
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

// Kernel rows whose taps lie side by side are a piece, or else each tap is; they must be whole quads.
inline void set_pieces(QPlan& plan) {
  const QConv& v = plan.v;
  const tc_quantized_conv2d_params* p = v.p;
  const bool joined = p->kernel[1] == 1 || (p->dilations[1] == 1 && v.x->strides[2] == v.c);
  const int64_t across = joined ? 1 : p->kernel[1], bytes = joined ? p->kernel[1] * v.c : v.c;
  if (plan.prepared || plan.direct || bytes % 4 != 0 || bytes < 16 || p->kernel[0] > PIECES || across * p->kernel[0] > PIECES) return;
  plan.piece = bytes / 4;
  for (int64_t ky = 0; ky < p->kernel[0]; ++ky) {
    for (int64_t kx = 0; kx < across; ++kx) {
      plan.at[plan.pieces++] = ky * p->dilations[0] * v.x->strides[1] + kx * p->dilations[1] * v.x->strides[2];
    }
  }
}

// Output columns [*first, *last) of output row oy whose taps all lie inside the image.
inline void inside_of(const QPlan& plan, int64_t oy, int64_t* first, int64_t* last) {
  const QConv& v = plan.v;
  const tc_quantized_conv2d_params* p = v.p;
  const int64_t top = oy * p->strides[0] - p->pads[0], stride = p->strides[1], pad = p->pads[1];
  const int64_t room = v.w - 1 - (int64_t)(p->kernel[1] - 1) * p->dilations[1] + pad;
  *first = pad > 0 ? (pad + stride - 1) / stride : 0;
  *last = room < 0 ? 0 : room / stride + 1;
  if (*last > v.ow) *last = v.ow;
  const bool rows = top >= 0 && top + (int64_t)(p->kernel[0] - 1) * p->dilations[0] < v.h;
  if (plan.pieces == 0 || !rows || *first >= *last) *first = *last = v.ow;  // none
}

// How rows stand in scratch; within what `block` gathered pixels take.
inline void set_preparation(QPlan& plan) {
  const QConv& v = plan.v;
  // Instructions that prepared rows spare, about 3 for 16 taps and 8 columns, against those that make them, gathered before or not.
  const int64_t spared = v.oc * v.k, made = plan.direct ? 16 * v.k + 1000 : 32 * v.k + 2200;
  const bool pays = plan.y_step > 0 && v.p->panel <= 8 && v.p->granule >= 4 && spared > made && v.pixels >= DOT_GROUP;
  plan.prepared = DOT_PREPARES == DOT_ALWAYS || (DOT_PREPARES == DOT_WHERE_IT_PAYS && pays);
  plan.row = v.pitch;
  plan.block = v.p->block;
  if (!plan.prepared) return;
  plan.row = prepared_row_bytes(v.quads);
  plan.panel = prepared_panel_bytes(v.quads);
  plan.block = ((v.p->block - 1) * v.pitch - plan.panel) / plan.row / DOT_GROUP * DOT_GROUP;
}

// Lines of which several taps read each pixel are spread instead of rows prepared, if enough of them fit into what `block` pixels take.
inline void set_patch(QPlan& plan) {
  const QConv& v = plan.v;
  const tc_quantized_conv2d_params* p = v.p;
  const int64_t taps = (int64_t)p->kernel[0] * p->kernel[1], reach = (int64_t)(p->kernel[1] - 1) * p->dilations[1];
  const int64_t across = p->dilations[1] == 1 ? 1 : p->kernel[1];
  if (DOT_PREPARES != DOT_ALWAYS || v.c % 4 != 0 || taps <= (int64_t)p->strides[0] * p->strides[1] || across * p->kernel[0] > PIECES)
    return;
  const int64_t columns = p->block * v.pitch / (p->kernel[0] * v.c * 4);
  const int64_t fit = columns <= reach ? 0 : (columns - reach - 1) / p->strides[1] + 1;
  plan.patch = fit < 4 ? 0 : fit < v.ow ? fit / 4 * 4 : v.ow;
  if (plan.patch == 0) return;
  plan.prepared = false;
  plan.block = p->block;
  plan.row = plan.panel = 0;
  plan.line = ((plan.patch - 1) * p->strides[1] + reach + 1) * v.c * 4;
  plan.piece = across == 1 ? p->kernel[1] * v.c / 4 : v.c / 4;
  for (int64_t ky = 0; ky < p->kernel[0]; ++ky) {
    for (int64_t kx = 0; kx < across; ++kx) plan.at[plan.pieces++] = ky * plan.line + kx * p->dilations[1] * v.c * 4;
  }
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
  set_preparation(plan);
  set_patch(plan);
  if (plan.patch == 0) set_pieces(plan);
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
  // The last pixel reads furthest.
  const int64_t furthest = ((ox + count - 1) * p->strides[1] - p->pads[1]) * v.x->strides[2] + 16;
  const bool few = inside && taps <= 16 && plan.end - lines[p->kernel[0] - 1] >= furthest;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t left = (ox + i) * p->strides[1] - p->pads[1];
    int8_t* row = plan.prepared ? rows + plan.block * plan.row + plan.panel : rows + (first + i) * plan.row;
    if (few && left >= 0 && left + reach < v.w) {
      const int64_t offset = left * v.x->strides[2];
      int8_t* to = row;
      for (int64_t ky = 0; ky < p->kernel[0]; ++ky, to += taps) vst1q_s8(to, vld1q_s8(lines[ky] + offset));
    } else if (inside && left >= 0 && left + reach < v.w) {
      const int64_t offset = left * v.x->strides[2];
      for (int64_t ky = 0; ky < p->kernel[0]; ++ky) copy_taps(row + ky * taps, lines[ky] + offset, taps, plan.end);
    } else {
      for (int64_t ky = 0; ky < p->kernel[0]; ++ky) {
        const int64_t iy = top + ky * p->dilations[0];
        gather_taps(plan, iy < 0 || iy >= v.h ? nullptr : image + iy * v.x->strides[1], left, row + ky * taps);
      }
    }
    if (plan.prepared) prepare_row(rows + prepared_at(plan.row, first + i), row, v.quads);
  }
}

// Rows of a block of pixels, which may go over output rows, in scratch; those that are read as they are stay out.
inline void gather_block(const QPlan& plan, int64_t start, int64_t count, int64_t g, int8_t* rows) {
  const QConv& v = plan.v;
  if (plan.direct) {
    const int8_t* x = (const int8_t*)v.x->data + start * plan.x_step + g * v.c;
    for (int64_t i = 0; i < count; ++i) prepare_row(rows + prepared_at(plan.row, i), x + i * plan.x_step, v.quads);
    return;
  }
  for (int64_t done = 0; done < count;) {
    const int64_t pixel = start + done, ox = pixel % v.ow, line = pixel / v.ow, n = line / v.oh, oy = line % v.oh;
    const int64_t end = v.ow - ox < count - done ? v.ow : ox + count - done;
    int64_t first, last;
    inside_of(plan, oy, &first, &last);
    if (ox < first) gather_row(plan, n, oy, ox, (first < end ? first : end) - ox, g, rows, done);
    const int64_t from = last > ox ? last : ox;
    if (from < end && first < v.ow) gather_row(plan, n, oy, from, end - from, g, rows, done + from - ox);
    done += end - ox;
  }
}

// Where a stretch of a block's pixels is read.
struct Stretch {
  int64_t count;
  DotRows rows;
};

// The longest stretch from pixel `start + done` on whose pixels are read in one way and are evenly apart in y.
inline Stretch stretch_of(const QPlan& plan, const DotRows& block, int64_t start, int64_t done, int64_t left, int64_t g) {
  const QConv& v = plan.v;
  Stretch s = {left, block};
  s.rows.first += plan.prepared ? prepared_at(block.pitch, done) : done * block.pitch;
  if (plan.y_step > 0 && plan.pieces == 0) return s;
  const int64_t pixel = start + done, ox = pixel % v.ow, line = pixel / v.ow;
  if (s.count > v.ow - ox) s.count = v.ow - ox;
  const int64_t inside = done % DOT_GROUP;
  if (plan.prepared && inside != 0 && s.count > DOT_GROUP - inside) s.count = DOT_GROUP - inside;
  int64_t first, last;
  inside_of(plan, line % v.oh, &first, &last);
  if (ox < first) {
    if (s.count > first - ox) s.count = first - ox;
  } else if (ox < last) {
    if (s.count > last - ox) s.count = last - ox;
    const int64_t top = line % v.oh * v.p->strides[0] - v.p->pads[0], edge = ox * v.p->strides[1] - v.p->pads[1];
    const int8_t* image = (const int8_t*)v.x->data + line / v.oh * v.x->strides[0] + g * v.c;
    s.rows = {image + top * v.x->strides[1] + edge * v.x->strides[2],
              v.p->strides[1] * v.x->strides[2],
              plan.piece,
              plan.pieces,
              plan.at,
              DOT_PLAIN};
  }
  return s;
}

// Panel number `index` of group g and its first column.
inline DotPanel panel_at(const QPlan& plan, int64_t g, int64_t index, int64_t* column) {
  const QConv& v = plan.v;
  *column = panel_start(index, v.padded, v.p->panel);
  const int64_t at = g * v.padded + *column;
  DotPanel b = {};
  b.weight = v.weight + at * v.quads * 4;
  b.width = panel_width(*column, v.padded, v.p->panel);
  b.small = v.p->small != 0;
  b.real = v.oc - *column < b.width ? v.oc - *column : b.width;
  b.bias = v.bias + at;
  b.scale = v.scale + at;
  return b;
}

// Element of y's pixel number `pixel`.
inline int64_t pixel_at(const QConv& v, int64_t pixel) {
  const int64_t line = pixel / v.ow;
  return line / v.oh * v.y->strides[0] + line % v.oh * v.y->strides[1] + pixel % v.ow * v.y->strides[2];
}

// The block's rows times panels [first, last) of group g.
inline void multiply_block(const QPlan& plan, const DotRows& block, int64_t start, int64_t count, int64_t g, int64_t first, int64_t last,
                           int8_t* scratch) {
  const QConv& v = plan.v;
  const int64_t pitch = plan.y_step > 0 ? plan.y_step : v.y->strides[2];
  for (int64_t panel = first; panel < last; ++panel) {
    int64_t column;
    DotPanel b = panel_at(plan, g, panel, &column);
    if (plan.panel > 0) {
      int8_t* ready = scratch + plan.block * plan.row;
      prepare_panel(ready, b.weight, v.quads, b.width);
      b.weight = ready;
    }
    for (int64_t done = 0; done < count;) {
      const Stretch s = stretch_of(plan, block, start, done, count - done, g);
      const int64_t at = plan.y_step > 0 ? (start + done) * pitch : pixel_at(v, start + done);
      dot_rows(s.rows, s.count, b, {v.y, at + g * v.oc + column, pitch, v.to});
      done += s.count;
    }
  }
}

// What the taps of `count` pixels of output row oy, from ox on, read: lines of scratch, borders filled in.
inline void spread_lines(const QPlan& plan, int64_t n, int64_t oy, int64_t ox, int64_t count, int64_t g, int8_t* to) {
  const QConv& v = plan.v;
  const tc_quantized_conv2d_params* p = v.p;
  const int8_t* image = (const int8_t*)v.x->data + n * v.x->strides[0] + g * v.c;
  const int64_t left = ox * p->strides[1] - p->pads[1], pixel = v.c * 4;
  const int64_t columns = (count - 1) * p->strides[1] + (int64_t)(p->kernel[1] - 1) * p->dilations[1] + 1;
  for (int64_t ky = 0; ky < p->kernel[0]; ++ky) {
    const int64_t iy = oy * p->strides[0] - p->pads[0] + ky * p->dilations[0];
    int8_t* at = to + ky * plan.line;
    const bool inside = iy >= 0 && iy < v.h && left < v.w && left + columns > 0;
    const int64_t before = !inside ? columns : left < 0 ? -left : 0, end = left + columns < v.w ? left + columns : v.w;
    fill_taps(at, before * pixel, (int8_t)p->x_zero);
    if (!inside) continue;
    at += before * pixel;
    const int64_t from = left + before;
    const int8_t* x = image + iy * v.x->strides[1] + from * v.x->strides[2];
    if (v.x->strides[2] == v.c) {
      spread_quads(at, x, (end - from) * v.c / 4);
    } else {
      for (int64_t i = 0; i < end - from; ++i) spread_quads(at + i * pixel, x + i * v.x->strides[2], v.c / 4);
    }
    fill_taps(at + (end - from) * pixel, (left + columns - end) * pixel, (int8_t)p->x_zero);
  }
}

// Pixels [start, start + count) times panels [first, last) of group g, a stretch of an output row after the other.
inline void multiply_patches(const QPlan& plan, int64_t start, int64_t count, int64_t g, int64_t first, int64_t last, int8_t* scratch) {
  const QConv& v = plan.v;
  const DotRows rows = {scratch, v.p->strides[1] * v.c * 4, plan.piece, plan.pieces, plan.at, DOT_SPREAD};
  for (int64_t done = 0; done < count;) {
    const int64_t pixel = start + done, ox = pixel % v.ow, line = pixel / v.ow;
    int64_t run = v.ow - ox < plan.patch ? v.ow - ox : plan.patch;
    if (run > count - done) run = count - done;
    spread_lines(plan, line / v.oh, line % v.oh, ox, run, g, scratch);
    for (int64_t panel = first; panel < last; ++panel) {
      int64_t column;
      const DotPanel b = panel_at(plan, g, panel, &column);
      dot_rows(rows, run, b, {v.y, pixel_at(v, pixel) + g * v.oc + column, v.y->strides[2], v.to});
    }
    done += run;
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
  const bool as_they_are = plan.direct && !plan.prepared;
  for (int64_t item = begin, gathered = -1; item < end; ++item) {
    const int64_t split = item % plan.splits, outer = item / plan.splits, g = outer % v.p->group;
    const int64_t start = outer / v.p->group * plan.block;
    const int64_t count = v.pixels - start < plan.block ? v.pixels - start : plan.block;
    const int64_t first = split * plan.panels / plan.splits, last = (split + 1) * plan.panels / plan.splits;
    if (plan.patch > 0) {
      multiply_patches(plan, start, count, g, first, last, (int8_t*)call->scratch);
      continue;
    }
    const int64_t whole = 0;
    DotRows rows = {(const int8_t*)call->scratch, plan.row, v.quads, 1, &whole, plan.prepared ? DOT_PREPARED : DOT_PLAIN};
    if (as_they_are) {
      rows.first = (const int8_t*)v.x->data + start * plan.x_step + g * v.c;
      rows.pitch = plan.x_step;
    } else if (outer != gathered) {
      gather_block(plan, start, count, g, (int8_t*)call->scratch);
      gathered = outer;
    }
    multiply_block(plan, rows, start, count, g, first, last, (int8_t*)call->scratch);
  }
}

}  // namespace

#endif
