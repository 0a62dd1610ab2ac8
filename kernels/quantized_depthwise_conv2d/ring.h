// quantized_depthwise_conv2d on NEON: sixteen channels at a time. Rows of the image are copied once, borders filled in, into a ring of as
// many lines as the filter has rows; products of bytes are added to s32 in pairs, which fit into s16 where no weight is -128.
#ifndef TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_RING_H_
#define TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_RING_H_

#include <string.h>

#include "quantized_depthwise_conv2d/quantized_depthwise_conv2d.h"
#include "simd/requantize_neon.h"

namespace {

// Channels [c, c + n) of all rows.
struct Block {
  const QDepthwise* v;
  int64_t c, n;
  const int8_t* end;   // behind x's last byte
  const int8_t* taps;  // [kh][kw][16]
  int8_t* lines;       // [kh][line]
  int64_t line;        // bytes of a line: [span][16]
};

inline Block block_of(const QDepthwise& v, int64_t index, int8_t* taps, int8_t* lines) {
  Block b = {&v, index * QDW_LANES};
  b.n = v.c - b.c < QDW_LANES ? v.c - b.c : QDW_LANES;
  b.end = (const int8_t*)v.x->data + 1;
  for (int axis = 0; axis < 4; ++axis) b.end += (v.x->dims[axis] - 1) * v.x->strides[axis];
  b.taps = taps;
  b.lines = lines;
  b.line = v.span * QDW_LANES;
  return b;
}

// One block's weights, [kh][kw][16], from quads of rows.
inline void spread_taps(const QDepthwise& v, int64_t index, int8_t* to) {
  const int64_t kernel_h = v.p->kernel[0], kernel_w = v.p->kernel[1];
  const int8_t* from = v.weight + index * kernel_w * v.quads * QDW_LANES * 4;
  for (int64_t kx = 0; kx < kernel_w; ++kx) {
    for (int64_t q = 0; q < v.quads; ++q, from += QDW_LANES * 4) {
      const int8x16x4_t rows = vld4q_s8(from);
      for (int64_t i = 0; i < 4 && 4 * q + i < kernel_h; ++i) {
        vst1q_s8(to + ((4 * q + i) * kernel_w + kx) * QDW_LANES, i == 0   ? rows.val[0]
                                                                 : i == 1 ? rows.val[1]
                                                                 : i == 2 ? rows.val[2]
                                                                          : rows.val[3]);
      }
    }
  }
}

// Sixteen bytes of which n count; the others are anything.
TC_INLINE int8x16_t load_some(const int8_t* from, int64_t n, const int8_t* end) {
  if (end - from >= 16) return vld1q_s8(from);
  int8_t some[16] = {};
  for (int64_t i = 0; i < n; ++i) some[i] = from[i];
  return vld1q_s8(some);
}

// `count` columns of a line from column ix of image row `from` on (NULL: outside), the zero point beyond its ends.
inline void copy_line(const Block& b, const int8_t* from, int64_t ix, int64_t count, int8_t* to) {
  const QDepthwise& v = *b.v;
  const int8x16_t border = vdupq_n_s8((int8_t)v.p->x_zero);
  const int8_t* stop = to + count * QDW_LANES;
  if (from == nullptr) ix = v.w;
  for (; to < stop && ix < 0; ++ix, to += QDW_LANES) vst1q_s8(to, border);
  if (ix < v.w) {
    const int64_t pitch = v.x->strides[2];
    int64_t inside = (stop - to) / QDW_LANES;
    if (inside > v.w - ix) inside = v.w - ix;
    const int8_t* at = from + ix * pitch;
    ix += inside;
    for (; inside >= 4 && b.end - at >= 3 * pitch + 16; inside -= 4, at += 4 * pitch, to += 4 * QDW_LANES) {
      const int8x16_t a0 = vld1q_s8(at), a1 = vld1q_s8(at + pitch), a2 = vld1q_s8(at + 2 * pitch), a3 = vld1q_s8(at + 3 * pitch);
      vst1q_s8(to, a0);
      vst1q_s8(to + 16, a1);
      vst1q_s8(to + 32, a2);
      vst1q_s8(to + 48, a3);
    }
    for (; inside > 0; --inside, at += pitch, to += QDW_LANES) vst1q_s8(to, load_some(at, b.n, b.end));
  }
  for (; to < stop; to += QDW_LANES) vst1q_s8(to, border);
}

// Which line an image row is kept in: rows of a filter are `dilation` apart, those of the next output row stay where they are if that is 1.
TC_INLINE int64_t slot_of(const QDepthwise& v, int64_t iy, int64_t ky) {
  if (v.p->dilations[0] != 1) return ky;
  const int64_t slot = iy % v.p->kernel[0];
  return slot < 0 ? slot + v.p->kernel[0] : slot;
}

// Brings the rows of output row oy into the lines; rows below `known` are there already. Gives the first row that is not.
inline int64_t fill_lines(const Block& b, const int8_t* image, int64_t oy, int64_t known) {
  const QDepthwise& v = *b.v;
  const int64_t top = oy * v.p->strides[0] - v.p->pads[0];
  int64_t iy = top;
  for (int64_t ky = 0; ky < v.p->kernel[0]; ++ky, iy += v.p->dilations[0]) {
    if (v.p->dilations[0] == 1 && iy < known) continue;
    const int8_t* from = iy >= 0 && iy < v.h ? image + iy * v.x->strides[1] + b.c : nullptr;
    copy_line(b, from, -(int64_t)v.p->pads[1], v.span, b.lines + slot_of(v, iy, ky) * b.line);
  }
  return iy;
}

// s32 sums of sixteen channels.
struct Sums {
  int32x4_t part[4];
};

TC_INLINE void add_products(Sums& s, int16x8_t low, int16x8_t high) {
  s.part[0] = vaddw_s16(s.part[0], vget_low_s16(low));
  s.part[1] = vaddw_s16(s.part[1], vget_high_s16(low));
  s.part[2] = vaddw_s16(s.part[2], vget_low_s16(high));
  s.part[3] = vaddw_s16(s.part[3], vget_high_s16(high));
}
TC_INLINE void add_tap(Sums& s, int8x16_t x, int8x16_t w) {
  add_products(s, vmull_s8(vget_low_s8(x), vget_low_s8(w)), vmull_s8(vget_high_s8(x), vget_high_s8(w)));
}
TC_INLINE void add_two_taps(Sums& s, int8x16_t x, int8x16_t w, int8x16_t next_x, int8x16_t next_w) {
  add_products(s, vmlal_s8(vmull_s8(vget_low_s8(x), vget_low_s8(w)), vget_low_s8(next_x), vget_low_s8(next_w)),
               vmlal_s8(vmull_s8(vget_high_s8(x), vget_high_s8(w)), vget_high_s8(next_x), vget_high_s8(next_w)));
}

TC_INLINE Sums start_of(const Block& b) {
  Sums s;
#pragma unroll
  for (int j = 0; j < 4; ++j) s.part[j] = vld1q_s32(b.v->bias + b.c + 4 * j);
  return s;
}

// The first n bytes.
TC_NOINLINE void put_few(int8_t* to, int8x16_t bytes, int64_t n) {
  int8_t all[16];
  vst1q_s8(all, bytes);
  memcpy(to, all, (size_t)n);
}
TC_INLINE void put_some(int8_t* to, int8x16_t bytes, int64_t n) {
  if (n == 8) {
    vst1_s8(to, vget_low_s8(bytes));
  } else {
    put_few(to, bytes, n);
  }
}

// Sums as what y holds, where that is not s8.
TC_NOINLINE void store_others(const Block& b, int64_t at, const int32_t* sums) {
  for (int64_t i = 0; i < b.n; ++i) store_sum(*b.v->y, at + i, sums[i], b.v->scale[b.c + i], b.v->to);
}

// What whole pixels of s8 end with; apart from the block, so that stores don't make the compiler read it again.
struct Ending {
  const int32_t* bias;
  const float* scale;
  Narrowing to;
};

TC_INLINE Ending ending_of(const Block& b, const Narrowing& to) { return {b.v->bias + b.c, b.v->scale + b.c, to}; }

TC_INLINE int8x16_t narrowed_pixel(const Ending& e, const int32x4_t (&part)[4]) {
  const int16x8_t low = halved(scaled_four(part[0], vld1q_f32(e.scale)), scaled_four(part[1], vld1q_f32(e.scale + 4)), e.to);
  const int16x8_t high = halved(scaled_four(part[2], vld1q_f32(e.scale + 8)), scaled_four(part[3], vld1q_f32(e.scale + 12)), e.to);
  return narrowed(low, high);
}

// What a block has of a pixel.
TC_INLINE void store_pixel(const Block& b, int64_t at, const Sums& s, const Narrowing& to) {
  if (b.v->y->dtype != TC_S8) {
    int32_t all[16];
    for (int j = 0; j < 4; ++j) vst1q_s32(all + 4 * j, s.part[j]);
    store_others(b, at, all);
    return;
  }
  const int8x16_t bytes = narrowed_pixel(ending_of(b, to), s.part);
  int8_t* y = (int8_t*)b.v->y->data + at;
  if (b.n == QDW_LANES) {
    vst1q_s8(y, bytes);
  } else {
    put_some(y, bytes, b.n);
  }
  if (limited(b.v->to)) limit_rows(y, 0, 1, b.n, b.v->to);
}

// U outputs of a 3x3 filter, columns side by side, STRIDE of them between outputs; two products fit into s16.
template <int STRIDE, int U, bool WHOLE>
TC_INLINE void filter_three(const Ending& e, const int8_t* first, const int8_t* second, const int8_t* third, const int8x16_t (&w)[9],
                            int8_t* y, int64_t pitch, int64_t n) {
  enum { COLUMNS = (U - 1) * STRIDE + 3 };
  int8x16_t x[3][COLUMNS];
#pragma unroll
  for (int i = 0; i < COLUMNS; ++i) {
    x[0][i] = vld1q_s8(first + i * QDW_LANES);
    x[1][i] = vld1q_s8(second + i * QDW_LANES);
    x[2][i] = vld1q_s8(third + i * QDW_LANES);
  }
#pragma unroll
  for (int u = 0; u < U; ++u) {
    Sums s;
#pragma unroll
    for (int j = 0; j < 4; ++j) s.part[j] = vld1q_s32(e.bias + 4 * j);
    const int i = u * STRIDE;
    add_two_taps(s, x[0][i], w[0], x[0][i + 1], w[1]);
    add_two_taps(s, x[0][i + 2], w[2], x[1][i], w[3]);
    add_two_taps(s, x[1][i + 1], w[4], x[1][i + 2], w[5]);
    add_two_taps(s, x[2][i], w[6], x[2][i + 1], w[7]);
    add_tap(s, x[2][i + 2], w[8]);
    const int8x16_t bytes = narrowed_pixel(e, s.part);
    if constexpr (WHOLE) {
      vst1q_s8(y + u * pitch, bytes);
    } else {
      put_some(y + u * pitch, bytes, n);
    }
  }
}

// A row of s8.
template <int STRIDE, bool WHOLE>
TC_NOINLINE void filter_row_three(const Block b, int64_t top, int64_t at, const Narrowing to) {
  const QDepthwise& v = *b.v;
  const int8_t *first = b.lines + slot_of(v, top, 0) * b.line, *second = b.lines + slot_of(v, top + 1, 1) * b.line,
               *third = b.lines + slot_of(v, top + 2, 2) * b.line;
  int8x16_t w[9];
#pragma unroll
  for (int i = 0; i < 9; ++i) w[i] = vld1q_s8(b.taps + i * QDW_LANES);
  const Ending e = ending_of(b, to);
  const int64_t pitch = v.y->strides[2], step = STRIDE * QDW_LANES;
  int8_t* y = (int8_t*)v.y->data + at;
  int64_t left = v.ow;
  for (; left >= 2; left -= 2, y += 2 * pitch, first += 2 * step, second += 2 * step, third += 2 * step) {
    filter_three<STRIDE, 2, WHOLE>(e, first, second, third, w, y, pitch, b.n);
  }
  if (left > 0) filter_three<STRIDE, 1, WHOLE>(e, first, second, third, w, y, pitch, b.n);
  if (limited(v.to)) limit_rows((int8_t*)v.y->data + at, pitch, v.ow, b.n, v.to);
}

enum { ROWS = 16 };  // filter rows whose lines are looked up once for an output row

// U outputs of any filter.
template <int U>
TC_INLINE void filter_any(const Block& b, const int8_t* const* lines, int64_t top, int64_t ox, int64_t at, const Narrowing& to) {
  const QDepthwise& v = *b.v;
  const int64_t stride = (int64_t)v.p->strides[1] * QDW_LANES, step = (int64_t)v.p->dilations[1] * QDW_LANES;
  const int64_t kernel_h = v.p->kernel[0], kernel_w = v.p->kernel[1], pairs = v.p->small != 0 ? kernel_w / 2 : 0;
  const int8_t* w = b.taps;
  Sums s[U];
#pragma unroll
  for (int u = 0; u < U; ++u) s[u] = start_of(b);
  for (int64_t ky = 0; ky < kernel_h; ++ky) {
    const int8_t* x = ky < ROWS ? lines[ky] : b.lines + slot_of(v, top + ky * v.p->dilations[0], ky) * b.line;
    x += ox * stride;
    for (int64_t i = 0; i < pairs; ++i, w += 2 * QDW_LANES, x += 2 * step) {
      const int8x16_t one = vld1q_s8(w), other = vld1q_s8(w + QDW_LANES);
#pragma unroll
      for (int u = 0; u < U; ++u) add_two_taps(s[u], vld1q_s8(x + u * stride), one, vld1q_s8(x + u * stride + step), other);
    }
    for (int64_t kx = 2 * pairs; kx < kernel_w; ++kx, w += QDW_LANES, x += step) {
      const int8x16_t one = vld1q_s8(w);
#pragma unroll
      for (int u = 0; u < U; ++u) add_tap(s[u], vld1q_s8(x + u * stride), one);
    }
  }
#pragma unroll
  for (int u = 0; u < U; ++u) store_pixel(b, at + u * v.y->strides[2], s[u], to);
}

void filter_row_any(const Block& b, int64_t top, int64_t at, const Narrowing& to) {
  const QDepthwise& v = *b.v;
  const int8_t* lines[ROWS];
  for (int64_t ky = 0; ky < v.p->kernel[0] && ky < ROWS; ++ky) {
    lines[ky] = b.lines + slot_of(v, top + ky * v.p->dilations[0], ky) * b.line;
  }
  int64_t ox = 0;
  for (; ox + 3 <= v.ow; ox += 3, at += 3 * v.y->strides[2]) filter_any<3>(b, lines, top, ox, at, to);
  for (; ox < v.ow; ++ox, at += v.y->strides[2]) filter_any<1>(b, lines, top, ox, at, to);
}

// Channels of one block of output rows [begin, end) of all images.
inline void filter_block(const QDepthwise& v, int64_t index, int64_t begin, int64_t end, void* scratch) {
  const tc_quantized_depthwise_conv2d_params* p = v.p;
  int8_t* taps = (int8_t*)scratch;
  spread_taps(v, index, taps);
  const Block b = block_of(v, index, taps, taps + p->kernel[0] * p->kernel[1] * QDW_LANES);
  const Narrowing to = narrowing_of(v.to);
  const bool three =
      p->kernel[0] == 3 && p->kernel[1] == 3 && p->dilations[0] == 1 && p->dilations[1] == 1 && p->small != 0 && v.y->dtype == TC_S8;
  const int64_t nothing = INT64_MIN;
  for (int64_t item = begin, known = nothing; item < end; ++item) {
    const int64_t n = item / v.oh, oy = item % v.oh, top = oy * p->strides[0] - p->pads[0];
    if (oy == 0) known = nothing;
    known = fill_lines(b, (const int8_t*)v.x->data + n * v.x->strides[0], oy, known);
    const int64_t at = n * v.y->strides[0] + oy * v.y->strides[1] + b.c;
    if (three && p->strides[1] == 1) {
      b.n == QDW_LANES ? filter_row_three<1, true>(b, top, at, to) : filter_row_three<1, false>(b, top, at, to);
    } else if (three && p->strides[1] == 2) {
      b.n == QDW_LANES ? filter_row_three<2, true>(b, top, at, to) : filter_row_three<2, false>(b, top, at, to);
    } else {
      filter_row_any(b, top, at, to);
    }
  }
}

}  // namespace

#endif
