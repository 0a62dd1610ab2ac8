// inverted_residual, a few output rows at a time: the expanded rows they need are made into a ring that keeps those of the rows before,
// filtered into scratch and projected from there, so that nothing hidden leaves the second-level cache. Work items are bands of output
// rows; a run of bands expands only the rows above its first one again. Include simd/gemm.h and define TC_COLUMNS first.
#ifndef TIERCAST_INVERTED_RESIDUAL_FUSED_H_
#define TIERCAST_INVERTED_RESIDUAL_FUSED_H_

#include "depthwise_conv2d/strip.h"
#include "inverted_residual/inverted_residual.h"

namespace {

// One run over bands of a call. Ring row `iy % lines` holds expanded row iy for iy in [held_from, held_to) of `image`.
struct Run {
  Block b;
  Strip strip;
  Product expand, project;
  Epilogue filter_rest;  // what the filter's tiles leave to do
  float *ring, *filtered;
  int64_t image, held_from, held_to;
};

inline Product product_of(const tc_call* call, const Block& b, int weight, int64_t k, int64_t n, Epilogue e) {
  Product p = {};
  p.b = operand(call, weight);
  p.bias = operand(call, weight + 1);
  p.k = k;
  p.n = n;
  p.panel = b.p->panel;
  p.granule = b.p->granule;
  e.slope = operand(call, weight + 2);
  p.epilogue = e;
  p.pairs = (float*)call->scratch + ring_floats(b).value + filtered_floats(b).value;
  return p;
}

inline Run run_of(const tc_call* call) {
  Run r = {};
  r.b = block_of(call);
  const Block& b = r.b;
  const tc_inverted_residual_params* p = b.p;
  r.ring = (float*)call->scratch;
  r.filtered = r.ring + ring_floats(b).value;
  r.image = -1;
  if (b.expands) {
    r.expand = product_of(call, b, IR_EXPAND_WEIGHT, b.c, b.hidden,
                          {p->expand_activation, p->expand_alpha, p->expand_beta, TC_RESIDUAL_NONE, nullptr});
    r.expand.ldc = b.hidden;
  }
  if (b.projects) {
    r.project = product_of(call, b, IR_WEIGHT, b.hidden, b.oc, {p->activation, p->alpha, p->beta, p->residual_mode, nullptr});
    r.project.ldc = b.y->strides[2];
    r.project.ldr = b.residual == nullptr ? 0 : b.residual->strides[2];
  }
  const Epilogue filter = {p->filter_activation, p->filter_alpha, p->filter_beta, TC_RESIDUAL_NONE, operand(call, IR_FILTER_SLOPE)};
  Filter f = {};
  f.weight = operand(call, IR_FILTER);
  f.bias = operand(call, IR_FILTER_BIAS);
  f.slope = filter.slope;
  f.c = b.hidden;
  f.x_pitch = b.expands ? b.hidden : b.x->strides[2];
  f.y_pitch = b.projects ? b.hidden : b.y->strides[2];
  f.activation = tile_applies(filter.activation) ? filter.activation : (int32_t)TC_ACTIVATION_NONE;
  f.lo = clamp_low(filter);
  f.hi = clamp_high(filter);
  r.strip = strip_of(f, p->kernel, p->stride, b.w, b.ow, 1, p->pads[1], TC_PAD_MODE_ZERO);
  r.filter_rest = filter;
  if (tile_applies(filter.activation)) r.filter_rest.activation = TC_ACTIVATION_NONE;
  return r;
}

// Collects the tiles of a product and runs them a block at a time, so that each panel of weights is read once a block.
struct Tiles {
  const Product* product;
  Tile tiles[MAX_TILES];
  int count;
};

#if defined(TC_PACKED)
enum { MOST_TILES = IR_PACKED_ROWS / MR };  // that scratch has room for
#else
enum { MOST_TILES = MAX_TILES };
#endif

inline void flush(Tiles* t) {
  const Product& p = *t->product;
  if (t->count != 0) run_block(p, t->tiles, t->count, 0, panel_count(padded_columns(p.n, p.granule), p.panel));
  t->count = 0;
}

// `length` pixels, `a_pitch` floats apart.
inline void add_pixels(Tiles* t, const float* a, int64_t a_pitch, int64_t length, const float* residual, float* c) {
  const Product& p = *t->product;
  for (int64_t i = 0; i < tile_count(length); ++i) {
    const int64_t first = tile_begin(length, i);
    if (t->count == MOST_TILES) flush(t);
    Tile& tile = t->tiles[t->count];
    tile.rows = plain_rows(a + first * a_pitch, a_pitch, p.k);
    tile.mr = (int)(tile_begin(length, i + 1) - first);
#if defined(TC_PACKED)
    if (p.n >= PACKED_COLUMNS) pack_tile(&tile.rows, tile.mr, p.pairs + t->count * MR * p.k);
#endif
    ++t->count;
    tile.c = c + first * p.ldc;
    tile.residual = residual == nullptr ? nullptr : residual + first * p.ldr;
  }
}

// Whether the rows of a view follow each other without a gap, so that their pixels are one run.
inline bool rows_join(const tc_view& v) { return v.strides[1] == v.dims[2] * v.strides[2]; }

inline const float* x_row(const Block& b, int64_t image, int64_t iy) {
  return (const float*)b.x->data + image * b.x->strides[0] + iy * b.x->strides[1];
}
inline float* y_row(const Block& b, int64_t image, int64_t oy) {
  return (float*)b.y->data + image * b.y->strides[0] + oy * b.y->strides[1];
}
inline float* ring_row(const Run& r, int64_t iy) { return r.ring + iy % r.b.lines * r.b.w * r.b.hidden; }

// Makes the ring hold expanded rows [from, to) of an image, at most `lines`.
inline void expand_rows(Run* r, int64_t image, int64_t from, int64_t to) {
  const Block& b = r->b;
  const bool goes_on = image == r->image && from >= r->held_from && from <= r->held_to;
  Tiles tiles;
  tiles.product = &r->expand;
  tiles.count = 0;
  for (int64_t iy = goes_on ? r->held_to : from, next; iy < to; iy = next) {
    const int64_t wrap = iy + b.lines - iy % b.lines;  // where the ring begins again
    next = !rows_join(*b.x) ? iy + 1 : to < wrap ? to : wrap;
    add_pixels(&tiles, x_row(b, image, iy), b.x->strides[2], (next - iy) * b.w, nullptr, ring_row(*r, iy));
  }
  flush(&tiles);
  r->image = image;
  r->held_from = from;
  r->held_to = goes_on && r->held_to > to ? r->held_to : to;
}

// Output rows [oy, oy + count) from hidden ones: into scratch where they are to be projected.
inline void filter_rows(const Run& r, int64_t image, int64_t oy, int64_t count) {
  const Block& b = r.b;
  const int64_t pitch = b.projects ? b.hidden : b.y->strides[2];
  for (int64_t done = 0; done < count; done += TILE_ROWS) {
    StripRows rows = {};
    rows.count = count - done < TILE_ROWS ? 1 : TILE_ROWS;
    const int64_t top = (oy + done) * b.p->stride - b.p->pads[0];
    for (int64_t i = 0; i < tile_lines(r.strip.tiles, rows.count); ++i) {
      const int64_t iy = top + i;
      rows.x[i] = iy < 0 || iy >= b.h ? nullptr : b.expands ? ring_row(r, iy) : x_row(b, image, iy);
    }
    for (int i = 0; i < rows.count; ++i) {
      rows.y[i] = b.projects ? r.filtered + (done + i) * b.ow * b.hidden : y_row(b, image, oy + done + i);
    }
    run_strip(r.strip, rows, 0, b.hidden);
    for (int i = 0; i < rows.count && needs_finish(r.filter_rest); ++i) {
      finish(r.filter_rest, (int)b.ow, b.hidden, r.filter_rest.slope, nullptr, 0, rows.y[i], pitch);
    }
  }
}

inline void project_rows(const Run& r, int64_t image, int64_t oy, int64_t count) {
  const Block& b = r.b;
  const bool joined = rows_join(*b.y) && (b.residual == nullptr || rows_join(*b.residual));
  const int64_t together = joined ? count : 1;
  Tiles tiles;
  tiles.product = &r.project;
  tiles.count = 0;
  for (int64_t i = 0; i < count; i += together) {
    const float* residual = nullptr;
    if (b.residual != nullptr) {
      residual = (const float*)b.residual->data + image * b.residual->strides[0] + (oy + i) * b.residual->strides[1];
    }
    add_pixels(&tiles, r.filtered + i * b.ow * b.hidden, b.hidden, together * b.ow, residual, y_row(b, image, oy + i));
  }
  flush(&tiles);
}

// Output rows [oy, oy + count), at most `rows`.
inline void run_rows_of(Run* r, int64_t image, int64_t oy, int64_t count) {
  const Block& b = r->b;
  const int64_t top = oy * b.p->stride - b.p->pads[0], bottom = top + (count - 1) * b.p->stride + b.p->kernel;
  if (b.expands && bottom > 0 && top < b.h) expand_rows(r, image, top < 0 ? 0 : top, bottom < b.h ? bottom : b.h);
  filter_rows(*r, image, oy, count);
  if (b.projects) project_rows(*r, image, oy, count);
}

int64_t work(const tc_call* call) {
  const Block b = block_of(call);
  return b.n * b.bands;
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  Run r = run_of(call);
  const Block& b = r.b;
  for (int64_t item = begin, next; item < end; item = next) {
    const int64_t image = item / b.bands, image_end = (image + 1) * b.bands;
    next = end < image_end ? end : image_end;
    const int64_t last = next == image_end ? b.oh : next % b.bands * b.p->band;
    for (int64_t oy = item % b.bands * b.p->band; oy < last; oy += b.rows) {
      run_rows_of(&r, image, oy, last - oy < b.rows ? last - oy : b.rows);
    }
  }
}

}  // namespace

#endif
