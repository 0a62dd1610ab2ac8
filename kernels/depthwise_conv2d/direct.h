// depthwise_conv2d, vectors over channels. Away from the left and right borders several output columns are computed at once, so that
// an input vector is loaded once for all taps of a kernel row that use it; border columns are computed one by one over several
// channel vectors. Include one ISA's header and define TC_COLUMNS (output columns at once for 3-wide kernels) first.
#ifndef TIERCAST_DEPTHWISE_CONV2D_DIRECT_H_
#define TIERCAST_DEPTHWISE_CONV2D_DIRECT_H_

#include "depthwise_conv2d/depthwise_conv2d.h"

namespace {

enum { COLUMNS = TC_COLUMNS, BORDER_VECTORS = 4 };

// One output row: the kernel rows that lie inside the image, and what the columns share.
struct Line {
  const Depthwise* v;
  const float** rows;  // image row of each kernel row, NULL for one of zeros
  float* y;
  const float* residual;  // added before the clamp; NULL when there is none
  int64_t y_pitch, residual_pitch, x_pitch;
  float lo, hi;
};

TC_INLINE V clamped(const Line& line, V x) { return v_min(v_set1(line.hi), v_max(v_set1(line.lo), x)); }

TC_INLINE void put(const Line& line, int64_t ox, int64_t c, V sum) {
  if (line.residual != nullptr) sum = v_add(sum, v_load(line.residual + ox * line.residual_pitch + c));
  v_store(line.y + ox * line.y_pitch + c, clamped(line, sum));
}

// COUNT output columns from `ox`, VL channels from `c`; input column of tap 0 is `ix`. KW and STEP are known: inputs are loaded once.
template <int COUNT, int KW, int STEP>
TC_INLINE void columns_known(const Line& line, int64_t ox, int64_t ix, int64_t c) {
  const Depthwise& v = *line.v;
  V acc[COUNT];
  for (int t = 0; t < COUNT; ++t) acc[t] = v_load(v.bias + c);
  for (int64_t ky = 0; ky < v.p->kernel[0]; ++ky) {
    if (line.rows[ky] == nullptr) continue;
    const float* x = line.rows[ky] + ix * line.x_pitch + c;
    const float* w = v.weight + ky * KW * v.c + c;
    V in[(COUNT - 1) * STEP + KW];
    for (int i = 0; i < (COUNT - 1) * STEP + KW; ++i) in[i] = v_load(x + i * line.x_pitch);
    for (int kx = 0; kx < KW; ++kx) {
      const V tap = v_load(w + kx * v.c);
      for (int t = 0; t < COUNT; ++t) acc[t] = v_fma(in[t * STEP + kx], tap, acc[t]);
    }
  }
  for (int t = 0; t < COUNT; ++t) put(line, ox + t, c, acc[t]);
}

// The same for any kernel, stride and dilation: every tap loads its input.
template <int COUNT>
TC_INLINE void columns_any(const Line& line, int64_t ox, int64_t ix, int64_t c) {
  const Depthwise& v = *line.v;
  const int64_t step = v.p->strides[1] * line.x_pitch, next = v.p->dilations[1] * line.x_pitch;
  V acc[COUNT];
  for (int t = 0; t < COUNT; ++t) acc[t] = v_load(v.bias + c);
  for (int64_t ky = 0; ky < v.p->kernel[0]; ++ky) {
    if (line.rows[ky] == nullptr) continue;
    const float* x = line.rows[ky] + ix * line.x_pitch + c;
    const float* w = v.weight + ky * v.p->kernel[1] * v.c + c;
    for (int64_t kx = 0; kx < v.p->kernel[1]; ++kx, x += next, w += v.c) {
      const V tap = v_load(w);
      for (int t = 0; t < COUNT; ++t) acc[t] = v_fma(v_load(x + t * step), tap, acc[t]);
    }
  }
  for (int t = 0; t < COUNT; ++t) put(line, ox + t, c, acc[t]);
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
      const float* x = line.rows[ky] + ix * line.x_pitch + c;
      const float* w = v.weight + (ky * v.p->kernel[1] + kx) * v.c + c;
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
      const float* w = v.weight + (ky * v.p->kernel[1] + kx) * v.c + c;
      acc = v_fma(v_load_n(line.rows[ky] + ix * line.x_pitch + c, n), v_load_n(w, n), acc);
    }
  }
  if (line.residual != nullptr) acc = v_add(acc, v_load_n(line.residual + ox * line.residual_pitch + c, n));
  v_store_n(line.y + ox * line.y_pitch + c, clamped(line, acc), n);
}

// Calls f(c) for vectors that cover channels [begin, end): the last one may overlap the one before.
template <int VECTORS, class F>
TC_INLINE int64_t each_vector(int64_t begin, int64_t end, F f) {
  int64_t c = begin;
  for (; c + VECTORS * VL <= end; c += VECTORS * VL) f(c);
  return c;
}

TC_NOINLINE void border(const Line& line, int64_t ox, int64_t begin, int64_t end) {
  int64_t c = each_vector<BORDER_VECTORS>(begin, end, [&](int64_t at) { column_border<BORDER_VECTORS>(line, ox, at); });
  c = each_vector<1>(c, end, [&](int64_t at) { column_border<1>(line, ox, at); });
  if (c == end) return;
  if (end - begin >= VL) {
    column_border<1>(line, ox, end - VL);
  } else {
    column_partial(line, ox, c, end - c);
  }
}

// Applies `kernel(c)` to channels [begin, end), at least VL of them.
template <class F>
TC_INLINE void cover(int64_t begin, int64_t end, F kernel) {
  const int64_t c = each_vector<1>(begin, end, kernel);
  if (c < end) kernel(end - VL);
}

template <int COUNT, int KW, int STEP>
TC_NOINLINE void tile_known(const Line& line, int64_t ox, int64_t ix, int64_t begin, int64_t end) {
  cover(begin, end, [&](int64_t c) { columns_known<COUNT, KW, STEP>(line, ox, ix, c); });
}
TC_NOINLINE void tile_any(const Line& line, int64_t ox, int64_t ix, int64_t begin, int64_t end) {
  cover(begin, end, [&](int64_t c) { columns_any<4>(line, ox, ix, c); });
}

typedef void (*TileFn)(const Line&, int64_t ox, int64_t ix, int64_t begin, int64_t end);
struct TileChoice {
  TileFn run;
  int64_t columns;
};

// Wide tiles need a wide interior: their last one overlaps the one before, and what it recomputes is lost.
template <int KW>
inline TileChoice unit_step_tile(int64_t interior) {
  if (COLUMNS > 4 && (interior >= 2 * COLUMNS || interior % COLUMNS == 0)) return {tile_known<COLUMNS, KW, 1>, COLUMNS};
  return {tile_known<4, KW, 1>, 4};
}

inline TileChoice choose_tile(const tc_depthwise_conv2d_params* p, int64_t interior) {
  const int32_t kw = p->kernel[1], step = p->strides[1];
  if (p->dilations[1] == 1 && kw == 3 && step == 1) return unit_step_tile<3>(interior);
  if (p->dilations[1] == 1 && kw == 3 && step == 2) return {tile_known<4, 3, 2>, 4};
  if (p->dilations[1] == 1 && kw == 5 && step == 1) return unit_step_tile<5>(interior);
  if (p->dilations[1] == 1 && kw == 5 && step == 2) return {tile_known<4, 5, 2>, 4};
  return {tile_any, 4};
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

// One output row over channels [begin, end). The last tile starts early and recomputes some columns, unless few are left.
inline void run_line(const Line& line, int64_t begin, int64_t end) {
  const Depthwise& v = *line.v;
  int64_t first = 0, last = 0;
  interior(v, &first, &last);
  const TileChoice tile = choose_tile(v.p, last - first);
  if (end - begin < VL || last - first < tile.columns) last = first;
  for (int64_t ox = 0; ox < first; ++ox) border(line, ox, begin, end);
  int64_t ox = first;
  while (ox < last && (last - ox) * 2 > tile.columns) {
    const int64_t at = ox + tile.columns <= last ? ox : last - tile.columns;
    tile.run(line, at, at * v.p->strides[1] - v.p->pads[1], begin, end);
    ox = at + tile.columns;
  }
  for (; ox < v.ow; ++ox) border(line, ox, begin, end);
}

// Channels are split into items too when there are few rows; every split has at least VL channels unless there is one.
inline int64_t channel_splits(const Depthwise& v) {
  const int64_t rows = v.n * v.oh, vectors = v.c / VL;
  const int64_t wanted = rows >= 8 ? 1 : (8 + rows - 1) / rows;
  return vectors < 1 ? 1 : wanted < vectors ? wanted : vectors;
}

int64_t work(const tc_call* call) {
  const Depthwise v = depthwise_of(call);
  return v.n * v.oh * channel_splits(v);
}

inline void run_row(const Depthwise& v, int64_t n, int64_t oy, int64_t begin, int64_t end) {
  const tc_depthwise_conv2d_params* p = v.p;
  const Epilogue e = {p->activation, p->alpha, p->beta, p->residual_mode, v.slope};
  const float* image = (const float*)v.x->data + n * v.x->strides[0];
  const float* rows[MAX_KERNEL_ROWS];
  for (int64_t ky = 0; ky < p->kernel[0]; ++ky) {
    const int64_t iy = pad_index(oy * p->strides[0] - p->pads[0] + ky * p->dilations[0], v.h, p->pad_mode);
    rows[ky] = iy < 0 ? nullptr : image + iy * v.x->strides[1];
  }
  const float* residual = nullptr;
  int64_t residual_pitch = 0;
  if (v.residual != nullptr) {
    residual = (const float*)v.residual->data + n * v.residual->strides[0] + oy * v.residual->strides[1];
    residual_pitch = v.residual->strides[2];
  }
  float* y = (float*)v.y->data + n * v.y->strides[0] + oy * v.y->strides[1];
  const Line line = {
      &v,           rows,         y, late_residual(p->residual_mode) ? nullptr : residual, v.y->strides[2], residual_pitch, v.x->strides[2],
      clamp_low(e), clamp_high(e)};
  run_line(line, begin, end);
  if (needs_finish(e)) {
    finish(e, (int)v.ow, end - begin, v.slope == nullptr ? nullptr : v.slope + begin, residual == nullptr ? nullptr : residual + begin,
           residual_pitch, y + begin, v.y->strides[2]);
  }
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  const Depthwise v = depthwise_of(call);
  const int64_t splits = channel_splits(v), vectors = v.c / VL;
  for (int64_t item = begin; item < end; ++item) {
    const int64_t split = item % splits, row = item / splits;
    const int64_t from = vectors * split / splits * VL;
    const int64_t to = split + 1 == splits ? v.c : vectors * (split + 1) / splits * VL;
    run_row(v, row / v.oh, row % v.oh, from, to);
  }
}

}  // namespace

#endif
