// matmul over the GEMM tiles of simd/gemm.h. With a packed b, work items are blocks of rows (times groups of panels when there are few);
// with a computed b they are panels: each is packed into scratch once and meets all rows.
#ifndef TIERCAST_MATMUL_PRODUCT_H_
#define TIERCAST_MATMUL_PRODUCT_H_

#include "matmul/matmul.h"

namespace {

// Batches of a, y and residual that share one b are rows of one product, if their addresses are evenly spaced.
inline bool rows_merge(const Matmul& v, const tc_view& view) {
  if (view.rank != v.y->rank) return false;
  for (int32_t i = 0; i < view.rank - 2; ++i) {
    if (view.dims[i] != v.y->dims[i] || view.strides[i] != view.dims[i + 1] * view.strides[i + 1]) return false;
  }
  return true;
}
inline bool one_b(const Matmul& v) {
  const int32_t inner = v.p->packed != 0 ? 1 : 2;
  for (int32_t i = 0; i < v.b->rank - inner; ++i) {
    if (v.b->dims[i] != 1) return false;
  }
  return true;
}

struct Plan {
  Matmul v;
  int64_t products, rows;  // after merging: how many products of how many rows
  int64_t panels;
  int64_t block_tiles, blocks, splits;
};

inline Plan plan_of(const tc_call* call) {
  Plan plan = {};
  plan.v = matmul_of(call);
  const Matmul& v = plan.v;
  const bool merge =
      v.batch > 1 && one_b(v) && rows_merge(v, *v.a) && rows_merge(v, *v.y) && (v.residual == nullptr || rows_merge(v, *v.residual));
  plan.products = merge ? 1 : v.batch;
  plan.rows = merge ? v.batch * v.m : v.m;
  plan.panels = panel_count(v.padded, v.p->panel);
  const int64_t tiles = tile_count(plan.rows), fit = v.p->block_rows / MR;
  if (v.p->packed != 0) {
    plan.block_tiles = fit < 1 ? 1 : fit > MAX_TILES ? MAX_TILES : fit;
    plan.blocks = (tiles + plan.block_tiles - 1) / plan.block_tiles;
    const int64_t outer = plan.blocks * plan.products, wanted = outer >= 8 ? 1 : (8 + outer - 1) / outer;
    plan.splits = wanted < plan.panels ? wanted : plan.panels;
  } else {
    plan.block_tiles = tiles;
    plan.blocks = 1;
    plan.splits = plan.panels;
  }
  return plan;
}

// Columns [column, column + width) of a computed b as a panel [k][width], scaled, zero beyond n.
TC_NOINLINE void pack_panel(const Matmul& v, const E* b, int64_t column, int32_t width, E* to) {
  const int64_t n = v.n - column < width ? v.n - column : width, ldb = row_pitch(*v.b);
  const bool transposed = v.p->trans_b != 0;
  const E* from = transposed ? b + column * ldb : b + column;
  const int64_t down = transposed ? 1 : ldb, across = transposed ? ldb : 1;
  for (int64_t k = 0; k < v.k; ++k, to += width) {
    for (int64_t j = 0; j < n; ++j) to[j] = from[k * down + j * across] * v.p->scale;
    for (int64_t j = n; j < width; ++j) to[j] = 0.0f;
  }
}

// Tiles [first, last) of one product against panels [from, to) of `p`, whose columns start at `column` of y.
inline void run_tiles(const Plan& plan, const Product& p, int64_t batch, int64_t column, int64_t first, int64_t last, int64_t from,
                      int64_t to) {
  const Matmul& v = plan.v;
  const E* a = (const E*)v.a->data + batch_offset(v, *v.a, 2, batch);
  E* y = (E*)v.y->data + batch_offset(v, *v.y, 2, batch) + column;
  const E* residual = nullptr;
  if (v.residual != nullptr) residual = (const E*)v.residual->data + batch_offset(v, *v.residual, 2, batch) + column;
  Tile tiles[MAX_TILES];
  for (int64_t at = first; at < last; at += MAX_TILES) {
    const int count = (int)(last - at < MAX_TILES ? last - at : MAX_TILES);
    for (int t = 0; t < count; ++t) {
      const int64_t row = tile_begin(plan.rows, at + t);
      tiles[t] = {plain_rows(a + row * v.lda, v.lda, v.k), (int)(tile_begin(plan.rows, at + t + 1) - row), y + row * v.ldy,
                  residual == nullptr ? nullptr : residual + row * v.ldr};
    }
    run_block(p, tiles, count, from, to);
  }
}

inline void run_item(const tc_call* call, const Plan& plan, int64_t batch, int64_t block, int64_t split) {
  const Matmul& v = plan.v;
  Product p = {};
  p.k = v.k;
  p.n = v.n;
  p.bias = v.bias;
  p.panel = v.p->panel;
  p.granule = v.p->granule;
  p.ldc = v.ldy;
  p.ldr = v.ldr;
  p.epilogue = {v.p->activation, v.p->alpha, v.p->beta, v.p->residual_mode, v.slope};
  const int64_t tiles = tile_count(plan.rows);
  if (v.p->packed != 0) {
    const int64_t first = block * plan.block_tiles, last = first + plan.block_tiles;
    p.b = (const E*)v.b->data + batch_offset(v, *v.b, 1, batch);
    run_tiles(plan, p, batch, 0, first, last < tiles ? last : tiles, plan.panels * split / plan.splits,
              plan.panels * (split + 1) / plan.splits);
    return;
  }
  const int64_t column = panel_start(split, v.padded, v.p->panel);
  const int32_t width = panel_width(column, v.padded, v.p->panel);
  pack_panel(v, (const E*)v.b->data + batch_offset(v, *v.b, 2, batch), column, width, (E*)call->scratch);
  p.b = (const E*)call->scratch;
  p.bias += column;
  if (v.slope != nullptr) p.epilogue.slope += column;
  p.n = v.n - column < width ? v.n - column : width;
  p.panel = p.granule = width;
  run_tiles(plan, p, batch, column, 0, tiles, 0, 1);
}

int64_t work(const tc_call* call) {
  const Plan plan = plan_of(call);
  return plan.products * plan.blocks * plan.splits;
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  const Plan plan = plan_of(call);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t split = item % plan.splits, rest = item / plan.splits;
    run_item(call, plan, rest / plan.blocks, rest % plan.blocks, split);
  }
}

}  // namespace

#endif
