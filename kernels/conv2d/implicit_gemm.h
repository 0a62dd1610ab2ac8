// conv2d as a GEMM whose A is the image: output pixels are rows, kh * kw * c is K.
//
// A tile of pixels that lies in one output row and away from the borders is read from the image in place (KH runs of KW * C floats);
// other tiles are gathered into scratch first (im2row). Work items are blocks of tiles, times groups of panels when there are few blocks.
#ifndef TIERCAST_CONV2D_IMPLICIT_GEMM_H_
#define TIERCAST_CONV2D_IMPLICIT_GEMM_H_

#include "conv2d/conv2d.h"
#include "simd/copy_floats.h"
#include "simd/gemm_thin.h"

namespace {

// Two axes seen as one: its length and stride, or ok == false when they do not merge.
struct Merged {
  bool ok;
  int64_t stride;
};
inline Merged merged(const tc_view& v, int axis) {
  const int64_t outer = v.dims[axis], inner = v.dims[axis + 1];
  if (inner == 1) return {true, v.strides[axis]};
  if (outer == 1) return {true, v.strides[axis + 1]};
  return {v.strides[axis] == inner * v.strides[axis + 1], v.strides[axis + 1]};
}

// How one call is cut up. A segment is a run of output pixels whose addresses are evenly spaced: the whole image, or one row.
struct Plan {
  Conv v;
  bool flat;
  int64_t segments, length, tiles;  // tiles per segment
  int64_t tile_rows;                // at most, pixels of a tile
  int64_t pitch, residual_pitch;    // between neighbouring pixels of y and residual
  int64_t x_pitch;                  // of x, for a flat pointwise convolution
  int64_t block_tiles, blocks;      // tiles per block, blocks per image and group
  int64_t panels, splits;           // panels per group, and into how many items a block's panels are split
  bool packs;                       // whole tiles are packed into scratch: simd/gemm_packed.h
};

inline bool flat_segment(Plan* plan) {
  const Conv& v = plan->v;
  const Merged y = merged(*v.y, 1), x = merged(*v.x, 1);
  const Merged r = v.residual == nullptr ? Merged{true, 0} : merged(*v.residual, 1);
  if (!y.ok || !r.ok) return false;
  const bool in_place = conv_is_pointwise(v.p) && v.p->strides[0] == 1 && v.p->strides[1] == 1;
  if (in_place ? !x.ok : v.ow >= 6 || conv_is_pointwise(v.p)) return false;
  plan->pitch = y.stride;
  plan->residual_pitch = r.stride;
  plan->x_pitch = x.stride;
  return true;
}

inline Plan plan_of(const tc_call* call) {
  Plan plan = {};
  plan.v = conv_of(call);
  const Conv& v = plan.v;
  plan.flat = flat_segment(&plan);
  if (!plan.flat) {
    plan.pitch = v.y->strides[2];
    plan.residual_pitch = v.residual == nullptr ? 0 : v.residual->strides[2];
  }
  plan.segments = plan.flat ? 1 : v.oh;
  plan.length = plan.flat ? v.oh * v.ow : v.ow;
  plan.tile_rows = v.columns > THIN_COLUMNS || v.p->gated != 0 ? MR
                   : v.p->block < THIN_ROWS                    ? v.p->block
                                                               : THIN_ROWS;  // scratch holds `block` rows
  plan.tiles = tile_count(plan.length, plan.tile_rows);
  const int64_t total = plan.tiles * plan.segments;
  int64_t fit = v.p->block / plan.tile_rows;
#if defined(TC_PACKED)
  // One tile's room is for gathering.
  const int64_t tile_bytes = v.k * MR * (int64_t)sizeof(float), room = tile_bytes > 0 ? call->scratch_bytes / tile_bytes - 1 : 0;
  plan.packs = v.columns >= PACKED_COLUMNS && room >= 1;
  if (plan.packs) fit = room;
#endif
  plan.block_tiles = fit < 1 ? 1 : fit > MAX_TILES ? MAX_TILES : fit;
  plan.blocks = (total + plan.block_tiles - 1) / plan.block_tiles;
  plan.panels = panel_count(v.padded, v.p->panel);
  // Fewer than 8 blocks leave threads idle: split the columns too.
  const int64_t outer = plan.blocks * v.n * v.p->group;
  const int64_t wanted = outer >= 8 ? 1 : (8 + outer - 1) / outer;
  plan.splits = wanted < plan.panels ? wanted : plan.panels;
  return plan;
}

// `taps` columns of c floats, `step` apart, from image row `line`; the first is column ix.
inline void gather_line(const Conv& v, const E* line, int64_t ix, int64_t taps, int64_t step, E* to) {
  const int64_t pitch = v.x->strides[2];
  const int64_t often = v.p->upsample[1];
  if (step == 1 && often == 1 && pitch == v.c && v.p->pad_mode == TC_PAD_MODE_ZERO) {
    const int64_t left = ix < 0 ? (-ix < taps ? -ix : taps) : 0;
    const int64_t room = v.w - ix < taps ? v.w - ix : taps;
    const int64_t right = room < left ? left : room;
    zero_floats(to, left * v.c);
    if (right > left) copy_floats(to + left * v.c, line + (ix + left) * v.c, (right - left) * v.c);
    zero_floats(to + right * v.c, (taps - right) * v.c);
    return;
  }
  for (int64_t i = 0; i < taps; ++i, to += v.c) {
    const int64_t column = pad_index(ix + i * step, v.w, v.p->pad_mode);
    if (column < 0) {
      zero_floats(to, v.c);
    } else {
      copy_floats(to, line + column / often * pitch, v.c);
    }
  }
}

// The kernel's rows at output row oy, each `taps` columns from input column ix.
inline void gather_lines(const Conv& v, const E* image, int64_t oy, int64_t ix, int64_t taps, int64_t step, E* to) {
  const tc_conv2d_params* p = v.p;
  for (int64_t ky = 0; ky < p->kernel[0]; ++ky, to += taps * v.c) {
    const int64_t row = pad_index(oy * p->strides[0] - p->pads[0] + ky * p->dilations[0], v.h, p->pad_mode);
    if (row < 0) {
      zero_floats(to, taps * v.c);
    } else {
      gather_line(v, image + row / p->upsample[0] * v.x->strides[1], ix, taps, step, to);
    }
  }
}

// The tile's A in the image itself; false when a tap falls outside, or the image is smaller than what is convolved.
inline bool in_place_rows(const Conv& v, const E* image, int64_t oy, int64_t ox, int64_t mr, Rows* rows) {
  const tc_conv2d_params* p = v.p;
  const int64_t top = oy * p->strides[0] - p->pads[0], left = ox * p->strides[1] - p->pads[1];
  const int64_t bottom = top + (int64_t)(p->kernel[0] - 1) * p->dilations[0];
  const int64_t right = left + (mr - 1) * p->strides[1] + (int64_t)(p->kernel[1] - 1) * p->dilations[1];
  if (enlarges(p) || top < 0 || left < 0 || bottom >= v.h || right >= v.w) return false;
  const int64_t pitch = v.x->strides[2];
  const bool joined = p->kernel[1] == 1 || (p->dilations[1] == 1 && pitch == v.c);
  rows->a = image + top * v.x->strides[1] + left * pitch;
  rows->lda = p->strides[1] * pitch;
  rows->outer = p->kernel[0];
  rows->outer_stride = p->dilations[0] * v.x->strides[1];
  rows->inner = joined ? 1 : p->kernel[1];
  rows->inner_stride = p->dilations[1] * pitch;
  rows->run = joined ? p->kernel[1] * v.c : v.c;
  return true;
}

// The padded piece of image under a tile of one output row, copied to `to`; false when im2row is smaller.
inline bool patch_rows(const Conv& v, const E* image, int64_t oy, int64_t ox, int64_t mr, E* to, Rows* rows) {
  const tc_conv2d_params* p = v.p;
  const int64_t columns = (mr - 1) * p->strides[1] + (int64_t)(p->kernel[1] - 1) * p->dilations[1] + 1;
  if (columns > mr * p->kernel[1]) return false;
  gather_lines(v, image, oy, ox * p->strides[1] - p->pads[1], columns, 1, to);
  const bool joined = p->dilations[1] == 1;
  *rows = {to,
           p->strides[1] * v.c,
           p->kernel[0],
           columns * v.c,
           joined ? 1 : p->kernel[1],
           p->dilations[1] * v.c,
           joined ? p->kernel[1] * v.c : v.c,
           nullptr};
  return true;
}

// A of the tile at pixel `first` of its segment; takes from scratch (mr * k floats) when the image cannot be read in place.
inline Rows tile_rows(const Plan& plan, const E* image, int64_t segment, int64_t first, int64_t mr, E** scratch) {
  const Conv& v = plan.v;
  const tc_conv2d_params* p = v.p;
  if (plan.flat && conv_is_pointwise(p)) return plain_rows(image + first * plan.x_pitch, plan.x_pitch, v.k);
  Rows rows = {};
  if (!plan.flat && in_place_rows(v, image, segment, first, mr, &rows)) return rows;
  E* to = *scratch;
  *scratch += mr * v.k;
  if (!plan.flat && patch_rows(v, image, segment, first, mr, to, &rows)) return rows;
  for (int64_t r = 0; r < mr; ++r) {
    const int64_t oy = plan.flat ? (first + r) / v.ow : segment, ox = plan.flat ? (first + r) % v.ow : first + r;
    gather_lines(v, image, oy, ox * p->strides[1] - p->pads[1], p->kernel[1], p->dilations[1], to + r * v.k);
  }
  return plain_rows(to, v.k, v.k);
}

#if defined(TC_PACKED)
// As tile_rows, packed into the tile's own place in scratch; gathered before, where it must be, into the place after the block's tiles.
inline Rows packed_tile_rows(const Plan& plan, const float* image, int64_t segment, int64_t first, int64_t mr, int tile, float* scratch) {
  float *to = scratch + tile * MR * plan.v.k, *aside = scratch + plan.block_tiles * MR * plan.v.k;
  if (packed_height(mr) == 0) return tile_rows(plan, image, segment, first, mr, &to);
  Rows rows = tile_rows(plan, image, segment, first, mr, &aside);
  pack_tile(&rows, (int)mr, to);
  return rows;
}
#endif

inline Product product_of(const Plan& plan, int64_t group) {
  const Conv& v = plan.v;
  const int64_t column = group * v.padded;
  Product p = {};
  p.b = v.weight + column * v.k;
  p.bias = v.bias + column;
  p.k = v.k;
  p.n = v.columns;
  p.panel = v.p->panel;
  p.granule = v.p->granule;
  p.ldc = plan.pitch;
  p.ldr = plan.residual_pitch;
  p.epilogue = {v.p->activation, v.p->alpha, v.p->beta, v.p->residual_mode, v.slope == nullptr ? nullptr : v.slope + column};
  p.gate = {v.p->gate_activation, v.p->gate_alpha, v.p->gate_beta};
  return p;
}

inline void run_item(const tc_call* call, const Plan& plan, int64_t image_index, int64_t group, int64_t block, int64_t split) {
  const Conv& v = plan.v;
  const E* image = (const E*)v.x->data + image_index * v.x->strides[0] + group * v.c;
  E* scratch = (E*)call->scratch;
  Tile tiles[MAX_TILES];
  int count = 0;
  const int64_t total = plan.tiles * plan.segments;
  for (int64_t id = block * plan.block_tiles; id < total && count < plan.block_tiles; ++id, ++count) {
    const int64_t segment = id / plan.tiles, index = id % plan.tiles;
    const int64_t first = tile_begin(plan.length, index, plan.tile_rows);
    const int64_t mr = tile_begin(plan.length, index + 1, plan.tile_rows) - first;
    Tile& tile = tiles[count];
    tile.mr = (int)mr;
    tile.c = (E*)v.y->data + image_index * v.y->strides[0] + segment * v.y->strides[1] + first * plan.pitch + group * v.oc;
    tile.residual = nullptr;
    if (v.residual != nullptr) {
      tile.residual = (const E*)v.residual->data + image_index * v.residual->strides[0] + segment * v.residual->strides[1] +
                      first * plan.residual_pitch + group * v.oc;
    }
#if defined(TC_PACKED)
    if (plan.packs) {
      tile.rows = packed_tile_rows(plan, image, segment, first, mr, count, scratch);
      continue;
    }
#endif
    tile.rows = tile_rows(plan, image, segment, first, mr, &scratch);
  }
  Product product = product_of(plan, group);
  product.pairs = scratch;
  if (v.columns <= THIN_COLUMNS && v.p->gated == 0) {
    run_thin_block(product, tiles, count, scratch);
    return;
  }
  const auto multiply = v.p->gated != 0 ? run_gated_block : run_block;
  multiply(product, tiles, count, plan.panels * split / plan.splits, plan.panels * (split + 1) / plan.splits);
}

int64_t work(const tc_call* call) {
  const Plan plan = plan_of(call);
  return plan.v.n * plan.v.p->group * plan.blocks * plan.splits;
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  const Plan plan = plan_of(call);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t split = item % plan.splits, rest = item / plan.splits;
    const int64_t block = rest % plan.blocks, outer = rest / plan.blocks;
    run_item(call, plan, outer / plan.v.p->group, outer % plan.v.p->group, block, split);
  }
}

}  // namespace

#endif
