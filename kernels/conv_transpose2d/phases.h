// conv_transpose2d phase by phase over the GEMM tiles of simd/gemm.h. A tile is neighbouring output pixels of one phase and row: their
// inputs are neighbours too, so inside the image A is read in place; at the borders it is gathered into scratch.
#ifndef TIERCAST_CONV_TRANSPOSE2D_PHASES_H_
#define TIERCAST_CONV_TRANSPOSE2D_PHASES_H_

#include "conv_transpose2d/conv_transpose2d.h"
#include "simd/copy_floats.h"

namespace {

struct Plan {
  Transposed v;
  int64_t phases;                   // of both axes
  int64_t block_tiles, max_blocks;  // tiles of an item; items of the longest phase
};

// One phase: its taps, and its output pixels first + stride * i.
struct Phase {
  Taps ty, tx;
  int64_t y0, rows, x0, columns, tiles;
  int64_t iy_step, ix_step;  // between neighbouring taps, in input pixels
  int64_t k, offset;
};

inline int64_t outputs_of(int64_t first, int64_t size, int64_t stride) { return first >= size ? 0 : (size - first - 1) / stride + 1; }

inline Phase phase_of(const Transposed& v, int64_t index) {
  const tc_conv_transpose2d_params* p = v.p;
  const int64_t ry = index / p->strides[1], rx = index % p->strides[1];
  Phase f = {};
  f.ty = taps_along(v, 0, ry);
  f.tx = taps_along(v, 1, rx);
  f.y0 = first_output(ry, p->pads[0], p->strides[0]);
  f.x0 = first_output(rx, p->pads[1], p->strides[1]);
  f.rows = outputs_of(f.y0, v.oh, p->strides[0]);
  f.columns = outputs_of(f.x0, v.ow, p->strides[1]);
  f.tiles = f.columns == 0 ? 0 : tile_count(f.columns);
  f.iy_step = f.ty.step * p->dilations[0] / p->strides[0];
  f.ix_step = f.tx.step * p->dilations[1] / p->strides[1];
  f.k = phase_rows(v, ry, rx);
  f.offset = phase_offset(v, ry, rx);
  return f;
}

inline Plan plan_of(const tc_call* call) {
  Plan plan = {};
  plan.v = transposed_of(call);
  const tc_conv_transpose2d_params* p = plan.v.p;
  plan.phases = (int64_t)p->strides[0] * p->strides[1];
  const int64_t fit = p->block / MR;
  plan.block_tiles = fit < 1 ? 1 : fit > MAX_TILES ? MAX_TILES : fit;
  const int64_t rows = (plan.v.oh - 1) / p->strides[0] + 1, columns = (plan.v.ow - 1) / p->strides[1] + 1;
  plan.max_blocks = (rows * tile_count(columns) + plan.block_tiles - 1) / plan.block_tiles;
  return plan;
}

// Input pixel of the first tap for output index `out` along an axis; exact, since the phase's taps divide.
inline int64_t first_input(const Transposed& v, int axis, const Taps& taps, int64_t out) {
  const int64_t at = out + v.p->pads[axis] - taps.last * v.p->dilations[axis];
  return at / v.p->strides[axis];
}

inline void gather(const Transposed& v, const Phase& f, const E* image, int64_t iy0, int64_t ix0, E* to) {
  for (int64_t i = 0; i < f.ty.count; ++i) {
    const int64_t iy = iy0 + i * f.iy_step;
    for (int64_t j = 0; j < f.tx.count; ++j, to += v.c) {
      const int64_t ix = ix0 + j * f.ix_step;
      if (iy < 0 || iy >= v.h || ix < 0 || ix >= v.w) {
        zero_floats(to, v.c);
      } else {
        copy_floats(to, image + iy * v.x->strides[1] + ix * v.x->strides[2], v.c);
      }
    }
  }
}

inline Rows tile_rows(const Transposed& v, const Phase& f, const E* image, int64_t oy, int64_t ox, int64_t mr, E** scratch) {
  if (f.k == 0) return plain_rows(image, 0, 0);
  const int64_t iy = first_input(v, 0, f.ty, oy), ix = first_input(v, 1, f.tx, ox);
  const int64_t bottom = iy + (f.ty.count - 1) * f.iy_step, right = ix + (f.tx.count - 1) * f.ix_step + mr - 1;
  const int64_t pitch = v.x->strides[2];
  if (iy >= 0 && ix >= 0 && bottom < v.h && right < v.w) {
    const bool joined = f.tx.count == 1 || (f.ix_step == 1 && pitch == v.c);
    return Rows{image + iy * v.x->strides[1] + ix * pitch,
                pitch,
                f.ty.count,
                f.iy_step * v.x->strides[1],
                joined ? 1 : f.tx.count,
                f.ix_step * pitch,
                joined ? f.tx.count * v.c : v.c,
                nullptr};
  }
  E* to = *scratch;
  *scratch += mr * f.k;
  for (int64_t r = 0; r < mr; ++r) gather(v, f, image, iy, ix + r, to + r * f.k);
  return plain_rows(to, f.k, f.k);
}

inline void run_item(const tc_call* call, const Plan& plan, int64_t n, int64_t group, int64_t phase, int64_t block) {
  const Transposed& v = plan.v;
  const tc_conv_transpose2d_params* p = v.p;
  const Phase f = phase_of(v, phase);
  const E* image = (const E*)v.x->data + n * v.x->strides[0] + group * v.c;
  E* y = (E*)v.y->data + n * v.y->strides[0] + group * v.oc;
  E* scratch = (E*)call->scratch;
  Tile tiles[MAX_TILES];
  int count = 0;
  for (int64_t id = block * plan.block_tiles; id < f.rows * f.tiles && count < plan.block_tiles; ++id, ++count) {
    const int64_t index = id % f.tiles, first = tile_begin(f.columns, index), mr = tile_begin(f.columns, index + 1) - first;
    const int64_t oy = f.y0 + id / f.tiles * p->strides[0], ox = f.x0 + first * p->strides[1];
    tiles[count] = {tile_rows(v, f, image, oy, ox, mr, &scratch), (int)mr, y + oy * v.y->strides[1] + ox * v.y->strides[2], nullptr};
  }
  if (count == 0) return;
  const int64_t column = group * v.padded;
  Product product = {};
  product.b = v.weight + (int64_t)p->kernel[0] * p->kernel[1] * v.c * column + f.offset;
  product.bias = v.bias + column;
  product.k = f.k;
  product.n = v.oc;
  product.panel = p->panel;
  product.granule = p->granule;
  product.ldc = v.y->strides[2] * p->strides[1];
  product.epilogue = {p->activation, p->alpha, p->beta, TC_RESIDUAL_NONE, v.slope == nullptr ? nullptr : v.slope + column};
  run_block(product, tiles, count, 0, panel_count(v.padded, p->panel));
}

int64_t work(const tc_call* call) {
  const Plan plan = plan_of(call);
  return plan.v.n * plan.v.p->group * plan.phases * plan.max_blocks;
}

// Items in the order image, group, block, phase: the phases of one place in the image meet in cache.
void run(const tc_call* call, int64_t begin, int64_t end) {
  const Plan plan = plan_of(call);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t phase = item % plan.phases, rest = item / plan.phases;
    const int64_t block = rest % plan.max_blocks, outer = rest / plan.max_blocks;
    run_item(call, plan, outer / plan.v.p->group, outer % plan.v.p->group, phase, block);
  }
}

}  // namespace

#endif
