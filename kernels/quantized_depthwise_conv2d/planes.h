// quantized_depthwise_conv2d by SDOT, which takes four products of a sum at once: four rows of each column are interleaved into a strip,
// four channels to a vector. A strip has four planes for each quad of filter rows: plane j holds channels 4j..4j+3 of sixteen, column by
// column. Where the filter leaves rows of its quads free, output rows below read the same strip with weights that stand further down.
#ifndef TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_PLANES_H_
#define TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_PLANES_H_

#include "quantized_depthwise_conv2d/ring.h"

namespace {

// The strip of one block of channels.
struct Planes {
  int64_t plane;   // bytes
  int8_t* data;    // [quads][4][plane]
  int8_t* weight;  // [rows][kw][quads][4][16]
};

inline int64_t rows_of_strip(const QDepthwise& v) {
  if (v.p->dilations[0] != 1) return 1;
  const int64_t rows = (v.quads * 4 - v.p->kernel[0]) / v.p->strides[0] + 1;
  return rows < QDW_ROWS ? rows : QDW_ROWS;
}

// Weights of the strip's output rows: those of row r stand `r * stride` filter rows further down, that many bytes of all quads.
inline void shift_weights(const QDepthwise& v, int64_t index, int64_t rows, int8_t* to) {
  const int64_t quads = v.quads;
  const int8_t* block = v.weight + index * v.p->kernel[1] * quads * 64;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t down = row * v.p->strides[0], whole = down / 4;
    const int32x4_t up = vdupq_n_s32((int32_t)(down % 4 * 8)), back = vdupq_n_s32((int32_t)(down % 4 * 8) - 32);
    for (int64_t kx = 0; kx < v.p->kernel[1]; ++kx) {
      for (int64_t at = 0; at < quads * 64; at += 16, to += 16) {
        const int64_t from = at - whole * 64;
        const uint32x4_t none = vdupq_n_u32(0);
        const uint32x4_t here = from >= 0 ? vreinterpretq_u32_s8(vld1q_s8(block + kx * quads * 64 + from)) : none;
        const uint32x4_t above = from >= 64 ? vreinterpretq_u32_s8(vld1q_s8(block + kx * quads * 64 + from - 64)) : none;
        vst1q_s8(to, vreinterpretq_s8_u32(vorrq_u32(vshlq_u32(here, up), vshlq_u32(above, back))));
      }
    }
  }
}

// Column `at` of a quad of rows into its four planes.
TC_INLINE void put_column(int8_t* to, int64_t plane, int8x16_t r0, int8x16_t r1, int8x16_t r2, int8x16_t r3) {
  const int16x8_t a = vreinterpretq_s16_s8(vzip1q_s8(r0, r1)), b = vreinterpretq_s16_s8(vzip2q_s8(r0, r1));
  const int16x8_t c = vreinterpretq_s16_s8(vzip1q_s8(r2, r3)), d = vreinterpretq_s16_s8(vzip2q_s8(r2, r3));
  vst1q_s8(to, vreinterpretq_s8_s16(vzip1q_s16(a, c)));
  vst1q_s8(to + plane, vreinterpretq_s8_s16(vzip2q_s16(a, c)));
  vst1q_s8(to + 2 * plane, vreinterpretq_s8_s16(vzip1q_s16(b, d)));
  vst1q_s8(to + 3 * plane, vreinterpretq_s8_s16(vzip2q_s16(b, d)));
}

// One quad of rows of output row oy.
inline void fill_quad(const Block& b, const Planes& s, const int8_t* image, int64_t oy, int64_t q) {
  const QDepthwise& v = *b.v;
  int8_t some[16];
  const int8x16_t border = vdupq_n_s8((int8_t)v.p->x_zero);
  vst1q_s8(some, border);
  const int64_t pitch = v.x->strides[2], before = v.p->pads[1] > 0 ? v.p->pads[1] : 0;
  int64_t ix = v.p->pads[1] > 0 ? 0 : -(int64_t)v.p->pads[1];
  const int8_t* from[4];
  int64_t step[4];
  for (int64_t i = 0; i < 4; ++i) {
    const int64_t iy = oy * v.p->strides[0] - v.p->pads[0] + (4 * q + i) * v.p->dilations[0];
    const bool inside = iy >= 0 && iy < v.h && ix < v.w;
    from[i] = inside ? image + iy * v.x->strides[1] + ix * pitch + b.c : some;
    step[i] = inside ? pitch : 0;
  }
  int8_t *to = s.data + q * 4 * s.plane, *stop = to + v.span * 16;
  for (int64_t i = 0; i < before && to < stop; ++i, to += 16) put_column(to, s.plane, border, border, border, border);
  // Whole vectors are read: of fewer channels as long as x goes on behind them.
  const int64_t columns = v.w - ix < v.span ? v.w - ix : v.span;
  bool whole = true;
  for (int i = 0; i < 4; ++i) whole = whole && (step[i] == 0 || b.n == QDW_LANES || b.end - from[i] >= (columns - 1) * pitch + QDW_LANES);
  if (whole && step[0] == pitch && step[1] == pitch && step[2] == pitch && step[3] == pitch) {
    const int8_t* at = from[0];
    int64_t below[3];
    for (int i = 0; i < 3; ++i) {
      below[i] = from[i + 1] - at;
      __asm__("" : "+r"(below[i]));  // or each row gets an address that is added up
    }
    for (; to < stop && ix < v.w; ++ix, to += 16, at += pitch) {
      put_column(to, s.plane, vld1q_s8(at), vld1q_s8(at + below[0]), vld1q_s8(at + below[1]), vld1q_s8(at + below[2]));
    }
  } else if (whole) {
#pragma clang loop unroll_count(2)
    for (; to < stop && ix < v.w; ++ix, to += 16) {
      put_column(to, s.plane, vld1q_s8(from[0]), vld1q_s8(from[1]), vld1q_s8(from[2]), vld1q_s8(from[3]));
#pragma unroll
      for (int i = 0; i < 4; ++i) from[i] += step[i];
    }
  } else {
    for (; to < stop && ix < v.w; ++ix, to += 16) {
      int8x16_t rows[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        rows[i] = step[i] == 0 ? border : load_some(from[i], b.n, b.end);
        from[i] += step[i];
      }
      put_column(to, s.plane, rows[0], rows[1], rows[2], rows[3]);
    }
  }
  for (; to < stop; to += 16) put_column(to, s.plane, border, border, border, border);
}

// Sums of U outputs side by side; KW 0: of any width.
template <int KW, int U>
TC_INLINE void dot_columns(const QDepthwise& v, const Planes& s, const int32_t* bias, const int8_t* weight, const int8_t* x,
                           int32x4_t (&sums)[U][4]) {
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int32x4_t start = vld1q_s32(bias + 4 * j);
#pragma unroll
    for (int u = 0; u < U; ++u) sums[u][j] = start;
  }
  const int64_t quads = v.quads;
  if constexpr (KW == 3) {
    for (int64_t q = 0; q < quads; ++q, weight += 64, x += 4 * s.plane) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        int8x16_t columns[U + 2];
#pragma unroll
        for (int i = 0; i < U + 2; ++i) columns[i] = vld1q_s8(x + j * s.plane + i * 16);
#pragma unroll
        for (int kx = 0; kx < 3; ++kx) {
          const int8x16_t w = vld1q_s8(weight + kx * quads * 64 + j * 16);
#pragma unroll
          for (int u = 0; u < U; ++u) sums[u][j] = vdotq_s32(sums[u][j], columns[kx + u], w);
        }
      }
    }
  } else {
    for (int64_t kx = 0; kx < v.p->kernel[1]; ++kx, x += (int64_t)v.p->dilations[1] * 16) {
      const int8_t* at = x;
      for (int64_t q = 0; q < quads; ++q, weight += 64, at += 4 * s.plane) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int8x16_t w = vld1q_s8(weight + j * 16);
#pragma unroll
          for (int u = 0; u < U; ++u) sums[u][j] = vdotq_s32(sums[u][j], vld1q_s8(at + j * s.plane + u * 16), w);
        }
      }
    }
  }
}

// U outputs of s8, of which n channels count.
template <int KW, int U, bool WHOLE>
TC_INLINE void dot_pixels(const QDepthwise& v, const Planes& s, const Ending& e, const int8_t* weight, const int8_t* x, int8_t* y,
                          int64_t pitch, int64_t n) {
  int32x4_t sums[U][4];
  dot_columns<KW, U>(v, s, e.bias, weight, x, sums);
  int8x16_t bytes[U];
#pragma unroll
  for (int u = 0; u < U; ++u) bytes[u] = narrowed_pixel(e, sums[u]);
#pragma unroll
  for (int u = 0; u < U; ++u) {
    if constexpr (WHOLE) {
      vst1q_s8(y + u * pitch, bytes[u]);
    } else {
      put_some(y + u * pitch, bytes[u], n);
    }
  }
}

template <int KW, bool WHOLE>
TC_NOINLINE void dot_row(const QDepthwise& v, const Planes s, const Ending e, const int8_t* weight, int8_t* y, int64_t n) {
  const int64_t pitch = v.y->strides[2];
  const int8_t* x = s.data;
  int8_t* const first = y;
  int64_t left = v.ow;
  for (; left >= 4; left -= 4, x += 64, y += 4 * pitch) dot_pixels<KW, 4, WHOLE>(v, s, e, weight, x, y, pitch, n);
  for (; left > 0; --left, x += 16, y += pitch) dot_pixels<KW, 1, WHOLE>(v, s, e, weight, x, y, pitch, n);
  if (limited(v.to)) limit_rows(first, pitch, v.ow, n, v.to);
}

// A row of sums, or of reals.
TC_NOINLINE void dot_row_other(const Block& b, const Planes& s, const Ending& e, const int8_t* weight, int64_t at) {
  for (int64_t ox = 0; ox < b.v->ow; ++ox, at += b.v->y->strides[2]) {
    int32x4_t sums[1][4];
    dot_columns<0, 1>(*b.v, s, e.bias, weight, s.data + ox * 16, sums);
    int32_t all[16];
    for (int j = 0; j < 4; ++j) vst1q_s32(all + 4 * j, sums[0][j]);
    store_others(b, at, all);
  }
}

// Channels of one block of output rows [begin, end) of all images; the filter moves by one column.
inline void dot_block(const QDepthwise& v, int64_t index, int64_t begin, int64_t end, void* scratch) {
  const int64_t most = rows_of_strip(v), taps = v.p->kernel[1] * v.quads * 64;
  const Block b = block_of(v, index, nullptr, nullptr);
  int8_t* weight = (int8_t*)scratch;
  const Planes s = {v.span * 16, weight + QDW_ROWS * taps, weight};
  shift_weights(v, index, most < end - begin ? most : end - begin, s.weight);
  const Ending e = ending_of(b, narrowing_of(v.to));
  const bool three = v.p->kernel[1] == 3 && v.p->dilations[1] == 1;
  for (int64_t item = begin; item < end;) {
    const int64_t n = item / v.oh, oy = item % v.oh;
    const int64_t below = v.oh - oy < end - item ? v.oh - oy : end - item, rows = below < most ? below : most;
    for (int64_t q = 0; q < v.quads; ++q) fill_quad(b, s, (const int8_t*)v.x->data + n * v.x->strides[0], oy, q);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t at = n * v.y->strides[0] + (oy + row) * v.y->strides[1] + b.c;
      const int8_t* below = s.weight + row * taps;
      if (v.y->dtype != TC_S8) {
        dot_row_other(b, s, e, below, at);
        continue;
      }
      int8_t* y = (int8_t*)v.y->data + at;
      if (three) {
        b.n == QDW_LANES ? dot_row<3, true>(v, s, e, below, y, b.n) : dot_row<3, false>(v, s, e, below, y, b.n);
      } else {
        b.n == QDW_LANES ? dot_row<0, true>(v, s, e, below, y, b.n) : dot_row<0, false>(v, s, e, below, y, b.n);
      }
    }
    item += rows;
  }
}

}  // namespace

#endif
