// memory_read over the GEMM tiles of simd/gemm.h. A work item is a panel of queries: blocks of slots are scored, turned into weights and
// multiplied by their values while they lie in cache, and earlier sums are scaled when a larger score appears (online softmax, Milakov and
// Gimelshein 2018; blocks as in FlashAttention, Dao et al. 2022). Weights of a block are a packed right-hand side as they stand.
#ifndef TIERCAST_MEMORY_READ_BLOCKWISE_H_
#define TIERCAST_MEMORY_READ_BLOCKWISE_H_

#include "memory_read/memory_read.h"

namespace {

// Where one item works. `width` columns (a panel) from `column` on, of which `n` exist.
struct Panel {
  int64_t batch, column, n;
  int32_t width;
  float *queries, *scores, *most, *total, *factor, *zeros;
};

// C[rows][n] = A[rows][k] * B[k][width] (+ C when `add`).
inline void multiply(const float* a, int64_t lda, int64_t rows, int64_t k, const float* b, const Panel& panel, int64_t n, float* c,
                     int64_t ldc, bool add) {
  Product p = {};
  p.b = b;
  p.bias = panel.zeros;
  p.k = k;
  p.n = n;
  p.panel = p.granule = panel.width;
  p.ldc = p.ldr = ldc;
  p.epilogue.residual_mode = add ? TC_RESIDUAL_ADD : TC_RESIDUAL_NONE;
  Tile tiles[MAX_TILES];
  const int64_t total = tile_count(rows);
  for (int64_t at = 0; at < total; at += MAX_TILES) {
    const int count = (int)(total - at < MAX_TILES ? total - at : MAX_TILES);
    for (int t = 0; t < count; ++t) {
      const int64_t row = tile_begin(rows, at + t);
      float* to = c + row * ldc;
      tiles[t] = {plain_rows(a + row * lda, lda, k), (int)(tile_begin(rows, at + t + 1) - row), to, add ? to : nullptr};
    }
    run_block(p, tiles, count, 0, 1);
  }
}

// Scaled queries as a panel [D][width], zero beyond the last.
TC_NOINLINE void pack_queries(const MemoryRead& v, const Panel& panel) {
  const float* from = matrix_of(*v.queries, panel.batch);
  float* to = panel.queries;
  for (int64_t d = 0; d < v.depth; ++d, to += panel.width) {
    for (int64_t j = 0; j < panel.n; ++j) to[j] = from[query_at(v, d, panel.column + j)] * v.p->scale;
    for (int64_t j = panel.n; j < panel.width; ++j) to[j] = 0.0f;
  }
}

// Scores become weights e^(score - largest so far); `factor` is what sums from before have to be multiplied by.
TC_NOINLINE void weigh(const MemoryRead& v, const Panel& panel, int64_t slot, int64_t count) {
  const float* offsets = v.offsets == nullptr ? nullptr : matrix_of(*v.offsets, panel.batch) + slot * row_pitch(*v.offsets);
  const int64_t pitch = v.offsets == nullptr ? 0 : row_pitch(*v.offsets);
  const V offset_scale = v_set1(v.p->offset_scale);
  for (int32_t j = 0; j < panel.width; j += VL) {
    const auto score = [&](int64_t s) TC_LAMBDA_INLINE {
      const V x = v_load(panel.scores + s * panel.width + j);
      return offsets == nullptr ? x : v_fma(v_set1(offsets[s * pitch]), offset_scale, x);
    };
    const V before = v_load(panel.most + j);
    V most = before;
    for (int64_t s = 0; s < count; ++s) most = v_max(most, score(s));
    V sum = v_zero();
    for (int64_t s = 0; s < count; ++s) {
      const V weight = v_exp(v_sub(score(s), most));
      v_store(panel.scores + s * panel.width + j, weight);
      sum = v_add(sum, weight);
    }
    const V factor = v_exp(v_sub(before, most));
    v_store(panel.most + j, most);
    v_store(panel.factor + j, factor);
    v_store(panel.total + j, v_fma(v_load(panel.total + j), factor, sum));
  }
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

inline void run_panel(const MemoryRead& v, const Panel& panel) {
  float* y = matrix_of(*v.y, panel.batch) + panel.column;
  for (int32_t j = 0; j < panel.width; ++j) {
    panel.most[j] = -3.4e38f;
    panel.total[j] = panel.zeros[j] = 0.0f;
  }
  pack_queries(v, panel);
  for (int64_t slot = 0; slot < v.slots; slot += SLOTS) {
    const int64_t count = smaller(SLOTS, v.slots - slot), lda = row_pitch(*v.keys);
    multiply(matrix_of(*v.keys, panel.batch) + slot * lda, lda, count, v.depth, panel.queries, panel, panel.width, panel.scores,
             panel.width, false);
    weigh(v, panel, slot, count);
    if (slot > 0) scale_columns(v, panel, panel.factor);
    multiply(matrix_of(*v.values, panel.batch) + slot, row_pitch(*v.values), v.width, count, panel.scores, panel, panel.n, y,
             row_pitch(*v.y), slot > 0);
  }
  for (int32_t j = 0; j < panel.width; ++j) panel.factor[j] = 1.0f / panel.total[j];
  scale_columns(v, panel, panel.factor);
}

int64_t padded_of(const MemoryRead& v) { return padded_columns(v.columns, Full::N); }

int64_t work(const tc_call* call) {
  const MemoryRead v = memory_read_of(call);
  return v.batch * panel_count(padded_of(v), NR);
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  static_assert(NR <= COLUMNS, "scratch holds COLUMNS columns");
  const MemoryRead v = memory_read_of(call);
  const int64_t padded = padded_of(v), panels = panel_count(padded, NR);
  for (int64_t item = begin; item < end; ++item) {
    Panel panel = {};
    panel.batch = item / panels;
    panel.column = panel_start(item % panels, padded, NR);
    panel.width = panel_width(panel.column, padded, NR);
    panel.n = smaller(panel.width, v.columns - panel.column);
    panel.scores = static_cast<float*>(call->scratch);
    panel.queries = panel.scores + SLOTS * COLUMNS;
    panel.most = panel.queries + v.depth * COLUMNS;
    panel.total = panel.most + COLUMNS;
    panel.factor = panel.total + COLUMNS;
    panel.zeros = panel.factor + COLUMNS;
    run_panel(v, panel);
  }
}

}  // namespace

#endif
