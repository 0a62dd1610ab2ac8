// winograd_conv2d by blocks of tiles: transform the inputs of a block, then for each panel of output channels multiply point by point and
// transform back into the image. REACH block's transformed inputs and one panel's products stay in the second-level cache.
//
// Work items are blocks (groups of them when there are fewer bands of statistics), times groups of panels when there are few. Include
// simd/gemm.h and define WINO_M and WINO_R first.
#ifndef TIERCAST_WINOGRAD_CONV2D_BLOCKS_H_
#define TIERCAST_WINOGRAD_CONV2D_BLOCKS_H_

#include "simd/statistics.h"
#include "winograd_conv2d/transform.h"
#include "winograd_conv2d/winograd.h"

namespace {

enum { SIDE = WINO_M, OVERLAP = WINO_R - 1, REACH = SIDE + OVERLAP, POINTS = REACH * REACH, PAIRS = pair_count(WINO_M, WINO_R) };

struct Plan {
  Winograd v;
  int64_t blocks, groups, panels, splits;  // groups of blocks; splits: items that share a group's panels
  int64_t block;                           // tiles of all blocks but the last
  bool packs;                              // transformed inputs are packed by simd/gemm_packed.h
  int64_t in_gap, out_gap;                 // floats between two points' matrices of transformed inputs and products
};

enum { MOST_COLUMNS = 64 };  // of a panel
enum { LEAST_PACKED = 2 };   // so few tiles are read as they lie

// Whether the packed micro-kernels know all widths of the panels.
inline bool packs(const Winograd& v) {
#if defined(TC_PACKED)
  return v.p->panel <= NR && v.p->granule >= VL;
#else
  (void)v;
  return false;
#endif
}

inline Plan plan_of(const tc_call* call) {
  Plan plan = {};
  plan.v = winograd_of(call, SIDE);
  const Winograd& v = plan.v;
  plan.packs = packs(v);
  const int64_t unit = plan.packs && MR < v.p->block ? (int)MR : 1;  // packed tiles are better whole
  const int64_t least = (v.tiles + v.p->block - 1) / v.p->block, even = (v.tiles + least - 1) / least;
  plan.block = even + unit - 1 < v.p->block ? (even + unit - 1) / unit * unit : v.p->block;
  plan.blocks = (v.tiles + plan.block - 1) / plan.block;
  plan.groups = group_count(v, plan.blocks);
  plan.panels = panel_count(v.padded, v.p->panel);
  const int64_t wanted = plan.groups >= 8 ? 1 : (8 + plan.groups - 1) / plan.groups;
  plan.splits = wanted < plan.panels ? wanted : plan.panels;
  plan.in_gap = (v.p->block + (plan.packs ? SPARE_TILES : 0)) * v.pitch + POINT_GAP;
  plan.out_gap = v.p->block * v.width + POINT_GAP;
  return plan;
}

// First tile of a block; that of the one after the last is the number of tiles.
inline int64_t block_begin(const Plan& plan, int64_t block) { return block < plan.blocks ? plan.block * block : plan.v.tiles; }

// REACH tile's place. `y`, `x`: its first output, counted within its phase.
struct TileAt {
  int64_t image, phase_y, y, phase_x, x;
};

inline TileAt tile_at(const Winograd& v, int64_t tile) {
  const int64_t x = tile % v.columns.tiles, left = tile / v.columns.tiles;
  const int64_t phase_x = left % v.columns.phases, rest = left / v.columns.phases;
  const int64_t y = rest % v.rows.tiles, outer = rest / v.rows.tiles;
  return {outer / v.rows.phases, outer % v.rows.phases, y * SIDE, phase_x, x * SIDE};
}

// The place of tile number `tile`, which follows `at`: without divisions inside a row.
inline TileAt next_tile(const Winograd& v, int64_t tile, TileAt at) {
  at.x += SIDE;
  return at.x < v.columns.tiles * SIDE ? at : tile_at(v, tile);
}

const float kZeros[VL] = {};

// Where `count` tiles side by side read: rows outside the image read kZeros, whatever the column.
struct Window {
  const float* row[REACH];
  int64_t keep[REACH];                           // -1, or 0 for a row outside
  bool inside;                                   // all rows are the image's
  int64_t column[STRIP_TILES * SIDE + OVERLAP];  // offset in floats, or -1 outside
};

inline void find_window(const Winograd& v, const TileAt& t, int64_t count, Window* window) {
  const float* image = (const float*)v.x->data + t.image * v.x->strides[0];
  window->inside = true;
  for (int i = 0; i < REACH; ++i) {
    const int64_t row = v.rows.input(t.phase_y, t.y, i, v.p->pad_mode);
    window->row[i] = row < 0 ? kZeros : image + row * v.x->strides[1];
    window->keep[i] = row < 0 ? 0 : -1;
    window->inside = window->inside && row >= 0;
  }
  for (int64_t j = 0; j < count * SIDE + OVERLAP; ++j) {
    const int64_t column = v.columns.input(t.phase_x, t.x, j, v.p->pad_mode);
    window->column[j] = column < 0 ? -1 : column * v.x->strides[2];
  }
}

// Columns of one vector of channels, `n` of them there, transformed: strip[j][i] for `columns` columns j. INSIDE: all rows are the image's.
template <bool INSIDE>
TC_NOINLINE void transform_columns(const Window& window, int64_t c, int64_t n, int64_t columns, float* strip) {
  const float* row[REACH];
  int64_t keep[REACH];
#pragma clang loop unroll(full)
  for (int i = 0; i < REACH; ++i) {
    keep[i] = window.keep[i];
    row[i] = window.row[i] + (c & keep[i]);
  }
  for (int64_t j = 0; j < columns; ++j, strip += REACH * VL) {
    V d[REACH], out[REACH];
    const int64_t column = window.column[j];
    if (column < 0) {
      for (int i = 0; i < REACH; ++i) v_store(strip + i * VL, v_zero());
      continue;
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < REACH; ++i) {
      const float* from = row[i] + (INSIDE ? column : column & keep[i]);
      d[i] = n >= VL ? v_load(from) : v_load_n(from, n);
    }
    transform_input<PAIRS>(d, out);
#pragma clang loop unroll(full)
    for (int i = 0; i < REACH; ++i) v_store(strip + i * VL, out[i]);
  }
}

// Rows of one tile of the strip, transformed, to one place in each point's matrix.
TC_INLINE void transform_rows(const float* strip, int64_t gap, float* to) {
  for (int i = 0; i < REACH; ++i, to += REACH * gap) {
    V d[REACH], out[REACH];
#pragma clang loop unroll(full)
    for (int j = 0; j < REACH; ++j) d[j] = v_load(strip + (j * REACH + i) * VL);
    transform_input<PAIRS>(d, out);
#pragma clang loop unroll(full)
    for (int j = 0; j < REACH; ++j) v_store(to + j * gap, out[j]);
  }
}

// Tiles [first, last) to in[point][tile][c], zero beyond the last channel.
inline void transform_tiles(const Plan& plan, int64_t first, int64_t last, float* strip, float* in) {
  const Winograd& v = plan.v;
  for (int64_t tile = first; tile < last;) {
    const TileAt t = tile_at(v, tile);
    int64_t count = v.columns.tiles - t.x / SIDE;
    if (count > last - tile) count = last - tile;
    if (count > STRIP_TILES) count = STRIP_TILES;
    Window window;
    find_window(v, t, count, &window);
    for (int64_t c = 0; c < v.c; c += VL) {
      (window.inside ? transform_columns<true> : transform_columns<false>)(window, c, v.c - c, count * SIDE + OVERLAP, strip);
      float* to = in + (tile - first) * v.pitch + c;
      for (int64_t k = 0; k < count; ++k) transform_rows(strip + k * SIDE * REACH * VL, plan.in_gap, to + k * v.pitch);
    }
    tile += count;
  }
}

// The tiles of a block; packed ones to in[point][tile / MR][c][MR], by way of what is spare behind them.
inline void transform_block(const Plan& plan, int64_t first, int64_t last, float* strip, float* in) {
#if defined(TC_PACKED)
  if (plan.packs) {
    const int64_t pitch = plan.v.pitch;
    float* plain = in + (plan.v.p->block + 3) * pitch;
    for (int64_t tile = first; tile < last; tile += MR) {
      const int mr = (int)(last - tile < MR ? last - tile : MR);
      if (mr <= LEAST_PACKED) {
        transform_tiles(plan, tile, tile + mr, strip, in + (tile - first) * pitch);
        continue;
      }
      transform_tiles(plan, tile, tile + mr, strip, plain);
      for (int point = 0; point < POINTS; ++point) {
        const Rows rows = plain_rows(plain + point * plan.in_gap, pitch, plan.v.c);
        float* to = in + point * plan.in_gap + (tile - first) * pitch;
        if (mr > 8) {
          pack_rows<3>(rows, mr, to);
        } else if (mr > 4) {
          pack_rows<2>(rows, mr, to);
        } else {
          pack_rows<1>(rows, mr, to);
        }
      }
    }
    return;
  }
#endif
  transform_tiles(plan, first, last, strip, in);
}

// At most MAX_TILES micro-kernel tiles of a block from number `first` on, at point 0; returns how many.
inline int find_tiles(const Plan& plan, int64_t tiles, int64_t first, const float* in, float* products, int32_t width, Tile* found) {
  int count = 0;
  for (int64_t i = first; i < tile_count(tiles) && count < MAX_TILES; ++i, ++count) {
    const int64_t begin = tile_begin(tiles, i), mr = tile_begin(tiles, i + 1) - begin, pitch = plan.v.pitch;
    const float* a = in + begin * pitch;
    found[count] = {plain_rows(a, pitch, plan.v.c), (int)mr, products + begin * width, nullptr};
    if (plan.packs && mr > LEAST_PACKED) found[count].rows.packed = a;
  }
  return count;
}

// `count` tiles by columns of one point, whose inputs and products lie `in_at` and `out_at` floats further.
inline void multiply_tiles(const Tile* tiles, int count, int32_t step, int64_t k, int64_t in_at, int64_t out_at, Slice s) {
  static const float kNoBias[64] = {};
  for (int t = 0; t < count;) {
#if defined(TC_PACKED)
    if (tiles[t].rows.packed != nullptr) {
      const int64_t size = (int64_t)sizeof(float);
      s.bias = nullptr;
      t += (int)run_packed({tiles + t, count - t, k, in_at * size, out_at * size}, step, s);
      continue;
    }
#endif
    Rows rows = tiles[t].rows;
    rows.a += in_at;
    s.bias = kNoBias;
    s.c = tiles[t].c + out_at;
    run_slice(tiles[t].mr, step, rows, s);
    ++t;
  }
}

// products[point][tile][width] = in[point][tile][c] * weight[point][c][width]
inline void multiply(const Plan& plan, int64_t tiles, const float* weight, int32_t width, const float* in, float* products) {
  Slice s = {};
  s.ldb = s.ldc = width;
  s.lo = -HUGE_VALF;
  s.hi = HUGE_VALF;
  const int32_t step = slice_width(width);
  for (int64_t first = 0; first < tile_count(tiles); first += MAX_TILES) {
    Tile batch[MAX_TILES];
    const int count = find_tiles(plan, tiles, first, in, products, width, batch);
    for (int point = 0; point < POINTS; ++point) {
      for (int32_t part = 0; part < width; part += step) {
        s.b = weight + point * plan.v.c * width + part;
        multiply_tiles(batch, count, step, plan.v.c, point * plan.in_gap, point * plan.out_gap + part, s);
      }
    }
  }
}

// One tile's place in y and the residual, how much of it lies inside, and the epilogue's numbers.
struct Target {
  float* y;
  const float* residual;
  int64_t y_row, y_column, r_row, r_column;  // strides
  int64_t rows, columns;                     // inside
  V lo, hi;
  bool low, high;  // whether these bound anything
  bool early;      // the residual is added before the activation
  Band band;       // of the first channel
};

// What the pixels of a tile add to a band: in two sets, as adds wait for each other.
struct Sums {
  V middle, sum[2], squares[2];

  TC_INLINE void add(int set, V x) {
    const V d = v_sub(x, middle);
    sum[set] = v_add(sum[set], d);
    squares[set] = v_fma(d, d, squares[set]);
  }
};

// y = A^T m + bias. The value of point 1, if there is one, reaches all outputs as it is.
TC_INLINE void transform_row(const V (&m)[REACH], V bias, V (&y)[SIDE]) {
  enum { ONE = one_of<PAIRS>() };
  if constexpr (ONE >= 0) {
    V biased[REACH];
#pragma clang loop unroll(full)
    for (int j = 0; j < REACH; ++j) biased[j] = j == ONE ? v_add(m[j], bias) : m[j];
    transform_output<PAIRS, SIDE>(biased, y);
  } else {
    transform_output<PAIRS, SIDE>(m, y);
#pragma clang loop unroll(full)
    for (int j = 0; j < SIDE; ++j) y[j] = v_add(y[j], bias);
  }
}

// One vector of channels of a tile: A^T m A + bias (+ residual), clamped; `n` of its lanes are stored. COUNTED: neither clamped nor with
// residual, but joined to the band.
template <bool COUNTED>
TC_NOINLINE void transform_products(const float* products, int64_t gap, int64_t width, const float* bias, int64_t n, const Target& t,
                                    int64_t channel) {
  V half[SIDE][REACH];
  const float* row[REACH];
#pragma clang loop unroll(full)
  for (int i = 0; i < REACH; ++i) {
    row[i] = products + i * REACH * gap;
#if defined(__aarch64__)
    __asm__("" : "+r"(row[i]));  // else the compiler works all of them out from one, again and again
#endif
  }
#pragma clang loop unroll(disable)
  for (int j = 0; j < REACH; ++j) {  // unrolled, it would compute POINTS addresses
    V m[REACH], y[SIDE];
    const int64_t at = j * gap;
#pragma clang loop unroll(full)
    for (int i = 0; i < REACH; ++i) m[i] = width >= VL ? v_load(row[i] + at) : v_load_n(row[i] + at, width);
    transform_output<PAIRS, SIDE>(m, y);
#pragma clang loop unroll(full)
    for (int i = 0; i < SIDE; ++i) half[i][j] = y[i];
  }
  const V b = n >= VL ? v_load(bias) : v_load_n(bias, n);
  const bool whole = n >= VL && t.columns == SIDE && !t.early;
  Sums s = {};
  if (COUNTED) {
    const float* mean = t.band.at + BAND_MEAN * t.band.pitch + channel;
    s = {n >= VL ? v_load(mean) : v_load_n(mean, n), {v_zero(), v_zero()}, {v_zero(), v_zero()}};
  }
  float* line = t.y + channel;
  const V lo = t.lo, hi = t.hi;  // of their own: stores to y might be stores to t
  const bool low = t.low, high = t.high;
  const int64_t rows = t.rows, y_row = t.y_row, y_column = t.y_column;
  for (int64_t i = 0; i < rows; ++i, line += y_row) {
    V y[SIDE];
    transform_row(half[i], b, y);
    float* to = line;
    const auto store = [&](auto last) TC_LAMBDA_INLINE {
#pragma clang loop unroll(full)
      for (int j = 0; j < SIDE; ++j, to += y_column) {
        if (COUNTED) s.add(j % 2, y[j]);
        v_store(to, last(y[j]));
      }
    };
    if (whole) {
      if (COUNTED || !(low || high)) {
        store([](V x) TC_LAMBDA_INLINE { return x; });
      } else if (!high) {
        store([&](V x) TC_LAMBDA_INLINE { return v_max(lo, x); });
      } else {
        store([&](V x) TC_LAMBDA_INLINE { return Full::clamp(x, lo, hi); });
      }
      continue;
    }
    for (int j = 0; j < t.columns; ++j, to += y_column) {
      V x = y[j];
      if (COUNTED) s.add(j % 2, x);
      if (t.early) x = v_add(x, v_load_n(t.residual + i * t.r_row + j * t.r_column + channel, n));
      v_store_n(to, COUNTED ? x : Full::clamp(x, lo, hi), n);
    }
  }
  if (COUNTED) {
    const V sum = v_add(s.sum[0], s.sum[1]), squares = v_add(s.squares[0], s.squares[1]);
    (n >= VL ? join_sums<false> : join_sums<true>)(t.band, channel, s.middle, sum, squares, t.rows * t.columns, n);
  }
}

inline Target target_of(const Winograd& v, const Epilogue& e, const TileAt& at) {
  Target t = {};
  const int64_t y = at.phase_y + at.y * v.rows.dilation, x = at.phase_x + at.x * v.columns.dilation;
  const auto inside = [](const Axis& axis, int64_t first) {
    const int64_t left = first >= axis.out ? 0 : (axis.out - first + axis.dilation - 1) / axis.dilation;
    return left < SIDE ? left : SIDE;
  };
  t.rows = inside(v.rows, y);
  t.columns = inside(v.columns, x);
  t.y_row = v.rows.dilation * v.y->strides[1];
  t.y_column = v.columns.dilation * v.y->strides[2];
  if (t.rows == 0 || t.columns == 0) return t;
  t.y = (float*)v.y->data + at.image * v.y->strides[0] + y * v.y->strides[1] + x * v.y->strides[2];
  if (v.residual != nullptr) {
    t.residual =
        (const float*)v.residual->data + at.image * v.residual->strides[0] + y * v.residual->strides[1] + x * v.residual->strides[2];
    t.r_row = v.rows.dilation * v.residual->strides[1];
    t.r_column = v.columns.dilation * v.residual->strides[2];
  }
  t.early = e.residual_mode == TC_RESIDUAL_ADD;
  t.lo = v_set1(clamp_low(e));
  t.hi = v_set1(clamp_high(e));
  t.low = clamp_low(e) > -HUGE_VALF;
  t.high = clamp_high(e) < HUGE_VALF;
  return t;
}

// A band's first tile: its mean is known when it is stored.
inline void begin_band(const Target& t, int64_t column, int64_t n) {
  Band band = {t.band.at + column, t.band.pitch, 0};
  for (int64_t i = 0; i < t.rows; ++i, band.before += t.columns) {
    add_statistics(band, t.y + i * t.y_row + column, t.y_column, t.columns, n);
  }
}

// Products of channels [column, column + width) back into the image, for tiles from `first` on. `band`: without address when there are no
// statistics. Returns how many pixels the band has now.
inline int64_t finish_panel(const Plan& plan, int64_t first, int64_t tiles, int64_t column, int32_t width, const float* products,
                            Band band) {
  const Winograd& v = plan.v;
  const Epilogue e = {v.p->activation, v.p->alpha, v.p->beta, v.p->residual_mode, v.slope};
  const int64_t n = v.oc - column < width ? v.oc - column : width;
  TileAt at = tile_at(v, first);
  for (int64_t tile = 0; tile < tiles; ++tile, at = next_tile(v, first + tile, at)) {
    Target t = target_of(v, e, at);
    if (t.rows == 0 || t.columns == 0) continue;
    t.band = band;
    const auto transform = band.before > 0 ? transform_products<true> : transform_products<false>;
    for (int64_t j = 0; j < n; j += VL) {
      transform(products + tile * width + j, plan.out_gap, width, v.bias + column + j, n - j, t, column + j);
    }
    if (band.at != nullptr) {
      if (band.before == 0) begin_band(t, column, n);
      band.before += t.rows * t.columns;
    }
    if (!needs_finish(e)) continue;
    const float* slope = v.slope == nullptr ? nullptr : v.slope + column;
    for (int64_t i = 0; i < t.rows; ++i) {
      const float* residual = t.residual == nullptr ? nullptr : t.residual + i * t.r_row + column;
      finish(e, (int)t.columns, n, slope, residual, t.r_column, t.y + i * t.y_row + column, t.y_column);
    }
  }
  return band.before;
}

// As finish_panel for a panel of features and gates, which meet tile by tile.
inline void finish_gated_panel(const Plan& plan, int64_t first, int64_t tiles, int64_t column, int32_t width, const float* products) {
  const Winograd& v = plan.v;
  const Epilogue e = {v.p->activation, v.p->alpha, v.p->beta, TC_RESIDUAL_NONE, nullptr};
  const Gate gate = {v.p->gate_activation, v.p->gate_alpha, v.p->gate_beta};
  const int64_t half = width / 2, left = v.oc - column / 2, n = left < half ? left : half;
  float sums[SIDE * SIDE * MOST_COLUMNS];
  Target aside = {};
  aside.y = sums;
  aside.rows = aside.columns = SIDE;
  aside.y_row = SIDE * width;
  aside.y_column = width;
  aside.lo = v_set1(-HUGE_VALF);
  aside.hi = v_set1(HUGE_VALF);
  TileAt at = tile_at(v, first);
  for (int64_t tile = 0; tile < tiles; ++tile, at = next_tile(v, first + tile, at)) {
    const Target t = target_of(v, e, at);
    if (t.rows == 0 || t.columns == 0) continue;
    for (int64_t j = 0; j < width; j += VL) {
      transform_products<false>(products + tile * width + j, plan.out_gap, width, v.bias + column + j, width - j, aside, j);
    }
    for (int64_t i = 0; i < t.rows; ++i) {
      finish_gated(e, gate, (int)t.columns, n, sums + i * SIDE * width, half, t.y + i * t.y_row + column / 2, t.y_column);
    }
  }
}

int64_t work(const tc_call* call) {
  const Plan plan = plan_of(call);
  return plan.groups * plan.splits;
}

// One split's panels of a block that is transformed; returns how many pixels the band has then.
inline int64_t run_panels(const Plan& plan, int64_t block, int64_t split, const Band& band, const float* in, float* products) {
  const Winograd& v = plan.v;
  const int64_t first = block_begin(plan, block), tiles = block_begin(plan, block + 1) - first;
  const int64_t last = plan.panels * (split + 1) / plan.splits;
  int64_t column = panel_start(plan.panels * split / plan.splits, v.padded, v.p->panel), pixels = 0;
  for (int64_t i = plan.panels * split / plan.splits; i < last; ++i) {
    const int32_t width = panel_width(column, v.padded, v.p->panel);
    multiply(plan, tiles, v.weight + column * v.c * POINTS, width, in, products);
    if (v.p->gated != 0) {
      finish_gated_panel(plan, first, tiles, column, width, products);
    } else {
      pixels = finish_panel(plan, first, tiles, column, width, products, band);
    }
    column += width;
  }
  return pixels;
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  const Plan plan = plan_of(call);
  float* in = (float*)call->scratch;
  float* products = in + POINTS * plan.in_gap;
  float* strip = products + POINTS * plan.out_gap;
  int64_t ready = -1;  // the block that is transformed
  if (begin == 0) clear_bands(plan.v, plan.groups);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t group = item / plan.splits;
    Band band = {};
    if (plan.v.statistics != nullptr) band = {band_at(*plan.v.statistics, 0, group), plan.v.statistics->strides[2], 0};
    for (int64_t block = plan.blocks * group / plan.groups; block < plan.blocks * (group + 1) / plan.groups; ++block) {
      if (block != ready) transform_block(plan, block_begin(plan, block), block_begin(plan, block + 1), strip, in);
      ready = block;
      band.before = run_panels(plan, block, item % plan.splits, band, in, products);
    }
  }
}

}  // namespace

#endif
