// memory_read over the GEMM tiles of simd/gemm.h. A work item is a panel of queries: blocks of slots are scored, turned into weights and
// multiplied by their values while they lie in cache, and earlier sums are scaled when a larger score appears (online softmax, Milakov and
// Gimelshein 2018; blocks as in FlashAttention, Dao et al. 2022). Weights of a block are a packed right-hand side as they stand. With top_k
// a block only leaves its largest scores, whose few values are read one by one at the end.
#ifndef TIERCAST_MEMORY_READ_BLOCKWISE_H_
#define TIERCAST_MEMORY_READ_BLOCKWISE_H_

#include "memory_read/picks.h"

namespace {

// Packing keys and values pays when many columns meet them; what is read in place needs no more columns than a tile has.
#if defined(TC_PACKED)
enum { PANEL = COLUMNS, TILES = PACKED_ROWS / MR };
#else
enum { PANEL = NR, TILES = MAX_TILES };
#endif

// Where one item works: `width` columns (a panel) from `column` on, of which `n` exist, in parts of `part` columns as wide as a tile.
struct Panel {
  int64_t batch, column, n;
  int32_t width, part;
  float *queries, *scores, *offsets, *most, *total, *factor, *zeros, *packed;
  Picks picks;
};

// The left-hand side of a product: `rows` rows of `k` elements, `pitch` apart.
struct Left {
  const float* a;
  int64_t pitch, rows, k;
};

// A matrix of a panel's columns: rows are `pitch` apart, parts of the panel `part_pitch`.
struct Place {
  float* at;
  int64_t pitch, part_pitch;
};

// Tiles [first, first + count) of a product.
inline void cut_tiles(const Left& left, const Place& c, const Place& added, int64_t first, int count, float* packed, Tile* tiles) {
  for (int t = 0; t < count; ++t) {
    const int64_t row = tile_begin(left.rows, first + t);
    const int mr = (int)(tile_begin(left.rows, first + t + 1) - row);
    tiles[t] = {plain_rows(left.a + row * left.pitch, left.pitch, left.k), mr, c.at + row * c.pitch, nullptr};
    if (added.at != nullptr) tiles[t].residual = added.at + row * added.pitch;
#if defined(TC_PACKED)
    pack_tile(&tiles[t].rows, mr, packed + t * MR * left.k);
#else
    (void)packed;
#endif
  }
}

// The first `n` columns of C = A * B + `added`, which is nothing where it is nowhere.
inline void multiply(const Panel& panel, const Left& left, const Place& b, int64_t n, const Place& c, const Place& added) {
  Product p = {};
  p.b = b.at;
  p.bias = panel.zeros;
  p.k = left.k;
  p.panel = p.granule = panel.part;
  p.ldc = c.pitch;
  p.ldr = added.pitch;
  p.epilogue.residual_mode = added.at != nullptr ? TC_RESIDUAL_ADD : TC_RESIDUAL_NONE;
  Tile tiles[TILES];
  const int64_t total = tile_count(left.rows);
  for (int64_t first = 0; first < total; first += TILES) {
    const int count = (int)smaller(TILES, total - first);
    cut_tiles(left, c, added, first, count, panel.packed, tiles);
    p.b = b.at;
    for (int64_t column = 0; column < n; column += panel.part, p.b += b.part_pitch) {
      p.n = smaller(panel.part, n - column);
      run_block(p, tiles, count, 0, 1);
      for (int t = 0; t < count; ++t) {
        tiles[t].c += c.part_pitch;
        if (added.at != nullptr) tiles[t].residual += added.part_pitch;
      }
    }
  }
}

// Scaled queries, each part [D][part], zero beyond the last.
TC_NOINLINE void pack_queries(const MemoryRead& v, const Panel& panel) {
  const float* from = matrix_of(*v.queries, panel.batch);
  for (int32_t first = 0; first < panel.width; first += panel.part) {
    const int64_t n = smaller(panel.part, panel.n - first);
    float* to = panel.queries + v.depth * first;
    for (int64_t d = 0; d < v.depth; ++d, to += panel.part) {
      for (int64_t j = 0; j < n; ++j) to[j] = from[query_at(v, d, panel.column + first + j)] * v.p->scale;
      for (int64_t j = larger(n, 0); j < panel.part; ++j) to[j] = 0.0f;
    }
  }
}

// A block's scaled offsets as they are added to each part of its scores.
TC_NOINLINE void spread_offsets(const MemoryRead& v, const Panel& panel, int64_t slot, int64_t count) {
  const int64_t pitch = row_pitch(*v.offsets);
  const float* from = matrix_of(*v.offsets, panel.batch) + slot * pitch;
  float* to = panel.offsets;
  for (int64_t s = 0; s < count; ++s, to += panel.part) {
    const V offset = v_set1(from[s * pitch] * v.p->offset_scale);
    for (int32_t j = 0; j < panel.part; j += VL) v_store(to + j, offset);
  }
}

// Scores of `count` slots from `slot` on: parts [count][part], SLOTS * part apart.
inline void score(const MemoryRead& v, const Panel& panel, int64_t slot, int64_t count) {
  Place offsets = {nullptr, panel.part, 0};
  if (v.offsets != nullptr) {
    spread_offsets(v, panel, slot, count);
    offsets.at = panel.offsets;
  }
  const int64_t pitch = row_pitch(*v.keys);
  const Left keys = {matrix_of(*v.keys, panel.batch) + slot * pitch, pitch, count, v.depth};
  const Place queries = {panel.queries, panel.part, v.depth * panel.part}, scores = {panel.scores, panel.part, SLOTS * panel.part};
  multiply(panel, keys, queries, panel.width, scores, offsets);
}

// A part's scores, [count][VECTORS], become weights e^(score - largest so far); `factor` is what sums from before have to be multiplied
// by. Whether that is any other number than one.
template <int VECTORS>
TC_NOINLINE bool weigh_part(float* scores, int64_t count, float* most, float* total, float* factor) {
  V high[VECTORS], sum[VECTORS];
  for (int i = 0; i < VECTORS; ++i) {
    high[i] = v_load(most + i * VL);
    sum[i] = v_zero();
  }
  for (int64_t s = 0; s < count; ++s) {
    for (int i = 0; i < VECTORS; ++i) high[i] = v_max(high[i], v_load(scores + (s * VECTORS + i) * VL));
  }
#pragma clang loop unroll_count(2)
  for (int64_t s = 0; s < count; ++s) {
    for (int i = 0; i < VECTORS; ++i) {
      float* at = scores + (s * VECTORS + i) * VL;
      const V weight = v_exp_below(v_sub(v_load(at), high[i]));
      v_store(at, weight);
      sum[i] = v_add(sum[i], weight);
    }
  }
  bool moved = false;
  for (int i = 0; i < VECTORS; ++i) {
    const V before = v_load(most + i * VL), scaled = v_exp_below(v_sub(before, high[i]));
    moved = moved || m_any(v_ne(before, high[i]));
    v_store(most + i * VL, high[i]);
    v_store(factor + i * VL, scaled);
    v_store(total + i * VL, v_fma(v_load(total + i * VL), scaled, sum[i]));
  }
  return moved;
}

inline bool weigh(const Panel& panel, int64_t count) {
  static_assert((int)NR == 2 * VL, "a part is one or two vectors wide");
  bool moved = false;
  for (int32_t j = 0; j < panel.width; j += panel.part) {
    const auto one = panel.part == VL ? weigh_part<1> : weigh_part<2>;
    moved = one(panel.scores + SLOTS * j, count, panel.most + j, panel.total + j, panel.factor + j) || moved;
  }
  return moved;
}

// y's columns of the panel times one factor each.
TC_NOINLINE void scale_columns(const MemoryRead& v, const Panel& panel, const float* factor) {
  float* y = matrix_of(*v.y, panel.batch) + panel.column;
  for (int64_t e = 0; e < v.width; ++e, y += row_pitch(*v.y)) {
    for (int64_t j = 0; j < panel.n; j += VL) {
      v_store_n(y + j, v_mul(v_load_n(y + j, panel.n - j), v_load(factor + j)), panel.n - j);
    }
  }
}

// Adds what the slots of a block read to y's columns.
inline void read_block(const MemoryRead& v, const Panel& panel, int64_t slot, int64_t count) {
  const bool moved = weigh(panel, count);
  if (slot > 0 && moved) scale_columns(v, panel, panel.factor);
  const Left values = {matrix_of(*v.values, panel.batch) + slot, row_pitch(*v.values), v.width, count};
  const Place weights = {panel.scores, panel.part, SLOTS * panel.part};
  const Place y = {matrix_of(*v.y, panel.batch) + panel.column, row_pitch(*v.y), panel.part};
  multiply(panel, values, weights, panel.n, y, slot > 0 ? y : Place{});
}

inline void finish_panel(const MemoryRead& v, Panel* panel) {
  float* y = matrix_of(*v.y, panel->batch) + panel->column;
  if (v.top_k > 0) {
    finish_picks(&panel->picks);
    weigh_picks(panel->picks);
    const float* values = matrix_of(*v.values, panel->batch);
    read_picks(panel->picks, values, row_pitch(*v.values), v.width, panel->n, y, row_pitch(*v.y), panel->scores);
  } else {
    for (int32_t j = 0; j < panel->width; ++j) panel->factor[j] = 1.0f / panel->total[j];
    scale_columns(v, *panel, panel->factor);
  }
}

inline void run_panel(const MemoryRead& v, Panel* panel) {
  for (int32_t j = 0; j < panel->width; ++j) {
    panel->most[j] = -3.4e38f;
    panel->total[j] = panel->zeros[j] = 0.0f;
  }
  clear(&panel->picks);
  pack_queries(v, *panel);
  for (int64_t slot = 0; slot < v.slots; slot += SLOTS) {
    const int64_t count = smaller(SLOTS, v.slots - slot);
    score(v, *panel, slot, count);
    if (v.top_k > 0) {
      offer(&panel->picks, panel->scores, panel->part, SLOTS * panel->part, slot, count);
    } else {
      read_block(v, *panel, slot, count);
    }
  }
  finish_panel(v, panel);
}

// Item `index` of a product's panels, with its places in scratch.
inline Panel panel_of(const tc_call* call, const MemoryRead& v, int64_t index, int64_t padded) {
  Panel panel = {};
  panel.column = panel_start(index, padded, PANEL);
  panel.width = panel_width(panel.column, padded, PANEL);
  panel.part = panel.width < NR ? panel.width : (int32_t)NR;
  panel.n = smaller(panel.width, v.columns - panel.column);
  panel.scores = static_cast<float*>(call->scratch);
  panel.offsets = panel.scores + SLOTS * COLUMNS;
  panel.queries = panel.offsets + SLOTS * COLUMNS;
  panel.most = panel.queries + v.depth * COLUMNS;
  panel.total = panel.most + COLUMNS;
  panel.factor = panel.total + COLUMNS;
  panel.zeros = panel.factor + COLUMNS;
  panel.packed = panel.zeros + COLUMNS;
  panel.picks.keys = reinterpret_cast<int64_t*>(panel.packed + larger(v.depth, SLOTS) * PACKED_ROWS);
  panel.picks.worst = panel.most;
  panel.picks.top_k = v.top_k;
  panel.picks.width = panel.width;
  return panel;
}

int64_t padded_of(const MemoryRead& v) { return padded_columns(v.columns, Full::N); }

int64_t work(const tc_call* call) {
  const MemoryRead v = memory_read_of(call);
  return v.batch * panel_count(padded_of(v), PANEL);
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  static_assert((int)PANEL <= COLUMNS, "scratch holds COLUMNS columns");
  const MemoryRead v = memory_read_of(call);
  const int64_t padded = padded_of(v), panels = panel_count(padded, PANEL);
  for (int64_t item = begin; item < end; ++item) {
    Panel panel = panel_of(call, v, item % panels, padded);
    panel.batch = item / panels;
    run_panel(v, &panel);
  }
}

}  // namespace

#endif
