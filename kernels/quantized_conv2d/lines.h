// quantized_conv2d without gathering: the input rows of a band of output rows are copied once, with borders and with the sign that the
// row's dot products want. A pixel's taps then are a few segments of these lines, and neighbouring pixels share them.
#ifndef TIERCAST_QUANTIZED_CONV2D_LINES_H_
#define TIERCAST_QUANTIZED_CONV2D_LINES_H_

#include "quantized_conv2d/gathered.h"
#include "simd/dot_segments.h"

namespace {

enum { LINE_BYTES = 98304, LINE_SLACK = 64, LINE_PIXELS = 12, LINE_REPACKED = 16384 };
enum { FLAT_BYTES = 24576, FLAT_PIXELS = 96 };

// Segments are kernel rows, or single taps where columns are dilated. Where they are no whole quads, weights get zeros at their ends.
struct LinePlan {
  QConv v;
  int64_t span, line;         // columns of a copied row, its bytes
  int64_t rows, kept, bands;  // output rows of a band, copied rows of one, bands of an image
  int64_t length;             // bytes of a segment
  int64_t repacked;           // bytes of weights with zeros, 0 where they serve as they are
  Segments segments;
  bool fits;
  int64_t block;  // of 1x1 on evenly spaced pixels: pixels copied at a time, else 0
};

// 1x1 on pixels that lie evenly apart, and so do their results: one long line, copied in blocks.
inline void plan_flat(LinePlan* plan, const tc_call* call) {
  const QConv& v = plan->v;
  const tc_quantized_conv2d_params* p = v.p;
  const bool plain = p->strides[0] == 1 && p->strides[1] == 1 && p->pads[0] == 0 && p->pads[1] == 0 && v.oh == v.h && v.ow == v.w;
  if (!plain || p->group != 1 || v.c % 4 != 0 || v.x->strides[2] != v.c || !evenly_apart(*v.x) || !evenly_apart(*v.y)) return;
  if (v.pixels < FLAT_PIXELS || v.c > FLAT_BYTES / FLAT_PIXELS) return;
  const int64_t wanted = (v.pixels + 7) / 8, most = FLAT_BYTES / v.c;  // fewer than 8 items leave threads idle
  plan->block = (wanted < most ? wanted : most) / LINE_PIXELS * LINE_PIXELS;
  plan->length = plan->line = v.c;
  plan->segments.count = 1;
  plan->segments.quads = v.c / 4;
  plan->fits = FLAT_BYTES + LINE_SLACK <= call->scratch_bytes;
}

inline LinePlan line_plan_of(const tc_call* call) {
  LinePlan plan = {};
  plan.v = qconv_of(call);
  const QConv& v = plan.v;
  const tc_quantized_conv2d_params* p = v.p;
  const int64_t kernel_h = p->kernel[0], kernel_w = p->kernel[1];
  const bool joined = p->dilations[1] == 1;
  const int64_t count = joined ? kernel_h : kernel_h * kernel_w;
  if (kernel_h * kernel_w == 1) {
    plan_flat(&plan, call);
    return plan;
  }
  if (v.ow < LINE_PIXELS || count > SEGMENTS) return plan;
  plan.span = (v.ow - 1) * p->strides[1] + (kernel_w - 1) * p->dilations[1] + 1;
  if (plan.span > LINE_BYTES) return plan;  // so no product below overflows
  plan.line = plan.span * v.c;
  const int64_t reach = (kernel_h - 1) * p->dilations[0] + 1;
  if (plan.line > LINE_BYTES || plan.line * reach > LINE_BYTES) return plan;
  const int64_t wanted = (v.n * v.oh + 7) / 8;  // fewer than 8 items leave threads idle
  plan.rows = (LINE_BYTES / plan.line - reach) / p->strides[0] + 1;
  if (plan.rows > wanted) plan.rows = wanted;
  if (plan.rows > v.oh) plan.rows = v.oh;
  plan.kept = (plan.rows - 1) * p->strides[0] + reach;
  plan.bands = (v.oh + plan.rows - 1) / plan.rows;
  plan.length = joined ? kernel_w * v.c : v.c;
  plan.segments.count = count;
  plan.segments.quads = (plan.length + 3) / 4;
  for (int64_t i = 0; i < count; ++i) {
    plan.segments.offset[i] =
        joined ? i * p->dilations[0] * plan.line : i / kernel_w * p->dilations[0] * plan.line + i % kernel_w * p->dilations[1] * v.c;
  }
  plan.repacked = plan.length % 4 == 0 ? 0 : count * plan.segments.quads * 4 * v.padded * p->group;  // group * padded * k is within limits
  const int64_t repacked = (plan.repacked + 63) / 64 * 64;
  plan.fits = plan.repacked <= LINE_REPACKED && repacked + plan.kept * plan.line + 2 * LINE_SLACK <= call->scratch_bytes;
  return plan;
}

// Weights whose segments end in zeros, panel by panel.
inline void repack_weights(const LinePlan& plan, int8_t* to) {
  const QConv& v = plan.v;
  for (int64_t g = 0; g < v.p->group; ++g) {
    const int8_t* packed = v.weight + g * v.quads * v.padded * 4;
    for (int64_t column = 0; column < v.padded;) {
      const int32_t width = panel_width(column, v.padded, v.p->panel);
      for (int64_t s = 0; s < plan.segments.count; ++s) {
        for (int64_t byte = 0; byte < plan.segments.quads * 4; ++byte) {
          const int64_t k = s * plan.length + byte;
          const int8_t* from = packed + (v.quads * column + k / 4 * width) * 4 + k % 4;
          int8_t* there = to + (s * plan.segments.quads + byte / 4) * width * 4 + byte % 4;
          for (int64_t c = 0; c < width; ++c) there[c * 4] = byte < plan.length ? from[c * 4] : 0;
        }
      }
      to += plan.segments.count * plan.segments.quads * width * 4;
      column += width;
    }
  }
}

// Group g of input row iy (outside of the image: the zero point) as the columns that output pixels read.
inline void copy_line(const LinePlan& plan, int64_t n, int64_t iy, int64_t g, uint8_t* to) {
  const QConv& v = plan.v;
  const uint8_t border = (uint8_t)v.p->x_zero ^ DOT_FLIP;
  const int64_t left = v.p->pads[1] > 0 ? (v.p->pads[1] < plan.span ? v.p->pads[1] : plan.span) : 0;
  const int64_t first = left - v.p->pads[1];  // the image's column at `left`; negative pads crop
  int64_t inside = v.w - first < plan.span - left ? v.w - first : plan.span - left;
  if (iy < 0 || iy >= v.h || inside < 0) inside = 0;
  fill_bytes(to, left * v.c, border);
  uint8_t* at = to + left * v.c;
  const int8_t* from = (const int8_t*)v.x->data + n * v.x->strides[0] + iy * v.x->strides[1] + first * v.x->strides[2] + g * v.c;
  if (inside > 0 && v.x->strides[2] == v.c) {
    flip_bytes(at, from, inside * v.c);
  } else {
    for (int64_t i = 0; i < inside; ++i) flip_bytes(at + i * v.c, from + i * v.x->strides[2], v.c);
  }
  fill_bytes(at + inside * v.c, (plan.span - left - inside) * v.c, border);
}

#ifndef TC_NARROW
// Panels narrower than a vector, which another instruction set's packing has.
TC_NOINLINE void narrow_rows(const uint8_t* a, int64_t pitch, int64_t rows, const Segments& segments, const DotPanel& b,
                             const DotOut& out) {
  for (int64_t i = 0; i < rows; ++i, a += pitch) {
    for (int64_t column = 0; column < b.real; ++column) {
      int32_t sum = b.bias[column];
      const int8_t* weight = b.weight + column * 4;
      for (int64_t s = 0; s < segments.count; ++s) {
        const uint8_t* from = a + segments.offset[s];
        for (int64_t q = 0; q < segments.quads; ++q, from += 4, weight += b.width * 4) {
          for (int byte = 0; byte < 4; ++byte) sum = wrapping_sum(sum, (int8_t)(from[byte] ^ DOT_FLIP) * weight[byte]);
        }
      }
      store_sum(*out.y, out.at + i * out.pitch + column, sum, b.scale[column], out.to);
    }
  }
}
#endif

// `rows` lots of `pixels` copied pixels, `step` bytes apart, times every panel of group g. at: of lot 0; results of lots are `stride`
// apart.
struct Lots {
  const uint8_t* a;
  int64_t rows, step, pixels, pitch;
  int64_t at, stride;
};

inline void multiply_lots(const LinePlan& plan, const Lots& lots, const int8_t* weight, int64_t g) {
  const QConv& v = plan.v;
  const int64_t base = g * v.padded, quads = plan.segments.count * plan.segments.quads;
  for (int64_t column = 0; column < v.padded;) {
    const int32_t width = panel_width(column, v.padded, v.p->panel);
    DotPanel b = {weight + (base + column) * quads * 4, quads, width, v.oc - column < width ? v.oc - column : width};
    b.bias = v.bias + base + column;
    b.sums = v.sums + base + column;
    b.scale = v.scale + base + column;
    for (int64_t row = 0; row < lots.rows; ++row) {
      const DotOut out = {v.y, lots.at + row * lots.stride + g * v.oc + column, v.y->strides[2], v.to};
      if (width < DOT_LANES) {
        narrow_rows(lots.a + row * lots.step, lots.pitch, lots.pixels, plan.segments, b, out);
      } else {
        segment_rows(lots.a + row * lots.step, lots.pitch, lots.pixels, plan.segments, b, out);
      }
    }
    column += width;
  }
}

// One item is a block of pixels.
inline void flat_run(const LinePlan& plan, uint8_t* scratch, int64_t begin, int64_t end) {
  const QConv& v = plan.v;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t first = item * plan.block, count = v.pixels - first < plan.block ? v.pixels - first : plan.block;
    flip_bytes(scratch, (const int8_t*)v.x->data + first * v.c, count * v.c);
    multiply_lots(plan, {scratch, 1, 0, count, v.c, first * v.y->strides[2], 0}, v.weight, 0);
  }
}

// One item is a band of an image.
inline void lines_run(const LinePlan& plan, void* scratch, int64_t begin, int64_t end) {
  if (plan.block > 0) return flat_run(plan, (uint8_t*)scratch, begin, end);
  const QConv& v = plan.v;
  int8_t* repacked = (int8_t*)scratch;
  uint8_t* lines = (uint8_t*)scratch + (plan.repacked + 63) / 64 * 64;
  if (plan.repacked > 0) repack_weights(plan, repacked);
  const int8_t* weight = plan.repacked > 0 ? repacked : v.weight;
  const int64_t reach = (v.p->kernel[0] - 1) * (int64_t)v.p->dilations[0] + 1;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t n = item / plan.bands, oy = item % plan.bands * plan.rows;
    const int64_t rows = v.oh - oy < plan.rows ? v.oh - oy : plan.rows;
    const int64_t top = oy * v.p->strides[0] - v.p->pads[0], kept = (rows - 1) * v.p->strides[0] + reach;
    const int64_t at = n * v.y->strides[0] + oy * v.y->strides[1];
    for (int64_t g = 0; g < v.p->group; ++g) {
      for (int64_t i = 0; i < kept; ++i) copy_line(plan, n, top + i, g, lines + i * plan.line);
      multiply_lots(plan, {lines, rows, v.p->strides[0] * plan.line, v.ow, v.p->strides[1] * v.c, at, v.y->strides[1]}, weight, g);
    }
  }
}

inline int64_t lines_work(const LinePlan& plan) {
  return plan.block > 0 ? (plan.v.pixels + plan.block - 1) / plan.block : plan.v.n * plan.bands;
}

}  // namespace

#endif
