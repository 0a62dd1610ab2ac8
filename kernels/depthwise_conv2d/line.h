// One output row of a depthwise convolution with any kernel, stride and dilation. Include one ISA's header first.
#ifndef TIERCAST_DEPTHWISE_CONV2D_LINE_H_
#define TIERCAST_DEPTHWISE_CONV2D_LINE_H_

#include "depthwise_conv2d/depthwise_conv2d.h"

namespace {

enum { SOME_COLUMNS = 4, BORDER_VECTORS = 4 };

// One output row: the kernel rows that lie inside the image, and what the columns share.
struct Line {
  const Depthwise* v;
  const E** rows;  // image row of each kernel row, NULL for one of zeros
  E* y;
  const E* residual;  // added before the clamp; NULL when there is none
  int64_t y_pitch, residual_pitch, x_pitch;
  float lo, hi;
};

TC_INLINE V clamped(const Line& line, V x) { return v_min(v_set1(line.hi), v_max(v_set1(line.lo), x)); }

TC_INLINE void put(const Line& line, int64_t ox, int64_t c, V sum) {
  if (line.residual != nullptr) sum = v_add(sum, v_load(line.residual + ox * line.residual_pitch + c));
  v_store(line.y + ox * line.y_pitch + c, clamped(line, sum));
}

// SOME_COLUMNS output columns from `ox`, VL channels from `c`; the input column of tap 0 is `ix`. Every tap loads its input.
TC_INLINE void columns_any(const Line& line, int64_t ox, int64_t ix, int64_t c) {
  const Depthwise& v = *line.v;
  const int64_t step = v.p->strides[1] * line.x_pitch, next = v.p->dilations[1] * line.x_pitch;
  V acc[SOME_COLUMNS];
  for (int t = 0; t < SOME_COLUMNS; ++t) acc[t] = v_load(v.bias + c);
  for (int64_t ky = 0; ky < v.p->kernel[0]; ++ky) {
    if (line.rows[ky] == nullptr) continue;
    const E* x = line.rows[ky] + ix * line.x_pitch + c;
    const E* w = v.weight + ky * v.p->kernel[1] * v.c + c;
    for (int64_t kx = 0; kx < v.p->kernel[1]; ++kx, x += next, w += v.c) {
      const V tap = v_load(w);
      for (int t = 0; t < SOME_COLUMNS; ++t) acc[t] = v_fma(v_load(x + t * step), tap, acc[t]);
    }
  }
  for (int t = 0; t < SOME_COLUMNS; ++t) put(line, ox + t, c, acc[t]);
}

// One output column at a border: taps outside are skipped or redirected. VECTORS vectors of channels hide the latency of the sums.
template <int VECTORS>
TC_INLINE void column_border(const Line& line, int64_t ox, int64_t c) {
  const Depthwise& v = *line.v;
  V acc[VECTORS];
  for (int i = 0; i < VECTORS; ++i) acc[i] = v_load(v.bias + c + i * VL);
  for (int64_t kx = 0; kx < v.p->kernel[1]; ++kx) {
    const int64_t ix = pad_index(ox * v.p->strides[1] - v.p->pads[1] + kx * v.p->dilations[1], v.w, v.p->pad_mode);
    if (ix < 0) continue;
    for (int64_t ky = 0; ky < v.p->kernel[0]; ++ky) {
      if (line.rows[ky] == nullptr) continue;
      const E* x = line.rows[ky] + ix * line.x_pitch + c;
      const E* w = v.weight + (ky * v.p->kernel[1] + kx) * v.c + c;
      for (int i = 0; i < VECTORS; ++i) acc[i] = v_fma(v_load(x + i * VL), v_load(w + i * VL), acc[i]);
    }
  }
  for (int i = 0; i < VECTORS; ++i) put(line, ox, c + i * VL, acc[i]);
}

// Fewer channels than a vector: `n` of them, partial loads only.
TC_NOINLINE void column_partial(const Line& line, int64_t ox, int64_t c, int64_t n) {
  const Depthwise& v = *line.v;
  V acc = v_load_n(v.bias + c, n);
  for (int64_t ky = 0; ky < v.p->kernel[0]; ++ky) {
    if (line.rows[ky] == nullptr) continue;
    for (int64_t kx = 0; kx < v.p->kernel[1]; ++kx) {
      const int64_t ix = pad_index(ox * v.p->strides[1] - v.p->pads[1] + kx * v.p->dilations[1], v.w, v.p->pad_mode);
      if (ix < 0) continue;
      const E* w = v.weight + (ky * v.p->kernel[1] + kx) * v.c + c;
      acc = v_fma(v_load_n(line.rows[ky] + ix * line.x_pitch + c, n), v_load_n(w, n), acc);
    }
  }
  if (line.residual != nullptr) acc = v_add(acc, v_load_n(line.residual + ox * line.residual_pitch + c, n));
  v_store_n(line.y + ox * line.y_pitch + c, clamped(line, acc), n);
}

TC_NOINLINE void border(const Line& line, int64_t ox, int64_t begin, int64_t end) {
  int64_t c = begin;
  for (; c + BORDER_VECTORS * VL <= end; c += BORDER_VECTORS * VL) column_border<BORDER_VECTORS>(line, ox, c);
  for (; c + VL <= end; c += VL) column_border<1>(line, ox, c);
  if (c == end) return;
  if (end - begin >= VL) {
    column_border<1>(line, ox, end - VL);
  } else {
    column_partial(line, ox, c, end - c);
  }
}

// SOME_COLUMNS output columns, channels [begin, end), at least VL of them: the last vector may overlap the one before.
TC_NOINLINE void some_columns(const Line& line, int64_t ox, int64_t ix, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; c += VL) columns_any(line, ox, ix, c + VL <= end ? c : end - VL);
}

// Output columns whose taps all lie inside: [first, last).
inline void interior(const Depthwise& v, int64_t* first, int64_t* last) {
  const tc_depthwise_conv2d_params* p = v.p;
  const int64_t step = p->strides[1], reach = (int64_t)(p->kernel[1] - 1) * p->dilations[1];
  *first = (p->pads[1] + step - 1) / step;
  const int64_t room = v.w - 1 - reach + p->pads[1];
  *last = room < 0 ? 0 : room / step + 1;
  if (*first > v.ow) *first = v.ow;
  if (*last > v.ow) *last = v.ow;
  if (*last < *first) *last = *first;
}

// One output row over channels [begin, end). The last columns start early and are computed again, unless few are left.
inline void run_line(const Line& line, int64_t begin, int64_t end) {
  const Depthwise& v = *line.v;
  int64_t first = 0, last = 0;
  interior(v, &first, &last);
  if (end - begin < VL || last - first < SOME_COLUMNS) last = first;
  for (int64_t ox = 0; ox < first; ++ox) border(line, ox, begin, end);
  int64_t ox = first;
  while (ox < last && (last - ox) * 2 > SOME_COLUMNS) {
    const int64_t at = ox + SOME_COLUMNS <= last ? ox : last - SOME_COLUMNS;
    some_columns(line, at, at * v.p->strides[1] - v.p->pads[1], begin, end);
    ox = at + SOME_COLUMNS;
  }
  for (; ox < v.ow; ++ox) border(line, ox, begin, end);
}

}  // namespace

#endif
