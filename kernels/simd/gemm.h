// The block loop of every op that multiplies: tiles of rows against packed panels, with the epilogue of a convolution.
// Include one ISA's header and define TC_MR (rows of a tile) and TC_NR (columns) first.
#ifndef TIERCAST_SIMD_GEMM_H_
#define TIERCAST_SIMD_GEMM_H_

#include "simd/copy_floats.h"
#include "simd/epilogue.h"
#include "simd/gemm_tile.h"
#include "simd/panels.h"
#if defined(__AVX2__)
#include "simd/gemm_pairs.h"
#endif
#if defined(TC_PACKED)
#include "simd/gemm_packed.h"
#endif

namespace {

enum { MAX_TILES = 16 };
// Rows that one micro-kernel reads in place: on NEON each takes a register beside the sums.
#if defined(__ARM_NEON)
enum { IN_PLACE_ROWS = MR < 8 ? (int)MR : 8 };
#else
enum { IN_PLACE_ROWS = MR };
#endif

// Widest slice of a panel that one micro-kernel does.
TC_INLINE int32_t slice_width(int32_t width) {
  if (width >= NR) return NR;
  if (width >= Full::N) return Full::N;
  return width;
}

void run_slice(int mr, int32_t width, const Rows& rows, const Slice& s);

// A tile of more rows than one micro-kernel takes.
inline void run_halves(int mr, int32_t width, Rows rows, Slice s) {
  const int half = mr / 2;
  run_slice(half, width, rows, s);
  rows.a += half * rows.lda;
  if (s.residual != nullptr) s.residual += half * s.ldr;
  s.c += half * s.ldc;
  run_slice(mr - half, width, rows, s);
}

TC_NOINLINE void run_slice(int mr, int32_t width, const Rows& rows, const Slice& s) {
#if defined(__AVX2__)
  if (s.pairs) return run_pairs(mr, rows, s);
#endif
#if defined(TC_PACKED)
  if (rows.packed != nullptr && packed_width(width)) {
    const Tile tile = {rows, mr, s.c, s.residual};
    run_packed({&tile, 1, rows.outer * rows.inner * rows.run, 0, 0}, width, s);
    return;
  }
#endif
  if (IN_PLACE_ROWS < MR && mr > IN_PLACE_ROWS) return run_halves(mr, width, rows, s);
  if (width == NR) return run_rows<Full, NR / Full::N, IN_PLACE_ROWS>(mr, rows, s);
  if (NR > Full::N && width == Full::N) return run_rows<Full, 1, IN_PLACE_ROWS>(mr, rows, s);
#if defined(__AVX512F__)
  if (width == Thin::N) return run_rows<Thin, 1, IN_PLACE_ROWS>(mr, rows, s);
#endif
  run_plain(mr, width, rows, s);
}

// The right-hand side: `k` packed rows, `n` columns, and the pitches of C and the residual.
struct Product {
  const E* b;
  const E* bias;
  int64_t k, n;
  int32_t panel, granule;
  int64_t ldc, ldr;
  Epilogue epilogue;
  Gate gate;  // of run_gated_block, for which n counts features and gates
  E* pairs;   // scratch for k * 8 elements, or NULL: where a thin panel may be packed in pairs
};

// `n` < width columns are wanted: compute the whole slice aside and copy them out.
TC_NOINLINE void run_partial(int mr, int32_t width, int64_t n, const Rows& rows, const Slice& s) {
  E out[MR * NR], in[MR * NR];
  Slice aside = s;
  aside.c = out;
  aside.ldc = width;
  if (s.residual != nullptr) {
    for (int r = 0; r < mr; ++r) {
      for (int32_t j = 0; j < width; ++j) in[r * width + j] = j < n ? s.residual[r * s.ldr + j] : 0.0f;
    }
    aside.residual = in;
    aside.ldr = width;
  }
  run_slice(mr, width, rows, aside);
  for (int r = 0; r < mr; ++r) {
    copy_floats(s.c + r * s.ldc, out + r * width, n);
  }
}

// Points a slice at a tile's columns from `column` on.
TC_INLINE void aim_slice(const Product& p, const Tile& tile, Slice& s, int64_t column) {
  const bool late = late_residual(p.epilogue.residual_mode);
  const E* residual = tile.residual == nullptr ? nullptr : tile.residual + column;
  s.bias = p.bias + column;
  s.slope = p.epilogue.slope == nullptr ? nullptr : p.epilogue.slope + column;
  s.residual = late ? nullptr : residual;
  s.ldr = p.ldr;
  s.c = tile.c + column;
  s.ldc = p.ldc;
}

// Columns [column, column + width) of one tile.
inline void run_columns(const Product& p, const Tile& tile, Slice& s, int64_t column, int32_t width) {
  const int64_t n = p.n - column < width ? p.n - column : width;
  if (n <= 0) return;
  aim_slice(p, tile, s, column);
  if (n == width) {
    run_slice(tile.mr, width, tile.rows, s);
  } else {
    run_partial(tile.mr, width, n, tile.rows, s);
  }
}

// As run_columns for the first of `count` tiles and those after it that run together with it. Returns their number.
inline int run_tiles(const Product& p, const Tile* tiles, int count, Slice& s, int64_t column, int32_t width) {
#if defined(TC_PACKED)
  if (tiles->rows.packed != nullptr && packed_width(width) && column + width <= p.n) {
    aim_slice(p, *tiles, s, column);
    return (int)run_packed({tiles, count, p.k, 0, column * (int64_t)sizeof(E)}, width, s);
  }
#endif
  (void)count;
  run_columns(p, *tiles, s, column, width);
  return 1;
}

// What the micro-kernels left to do on the same columns.
inline void finish_columns(const Product& p, const Tile& tile, int64_t column, int32_t width) {
  const int64_t n = p.n - column < width ? p.n - column : width;
  if (n <= 0) return;
  const E* slope = p.epilogue.slope == nullptr ? nullptr : p.epilogue.slope + column;
  const E* residual = tile.residual == nullptr ? nullptr : tile.residual + column;
  finish(p.epilogue, tile.mr, n, slope, residual, p.ldr, tile.c + column, p.ldc);
}

#if defined(__AVX2__)
// Packing a panel in pairs costs about k steps, and saves one in eight of rows * k / 2: worth it for a block of a fair size. Behind many
// full panels it would save little, and the same weights in two columns would no longer give the same sums, as a classifier's may expect.
inline bool pairs_pay(const Product& p, const Tile* tiles, int count) {
  if (p.n > 8 * p.panel) return false;
  int rows = 0;
  for (int t = 0; t < count; ++t) {
    if (tiles[t].rows.run % 2 != 0) return false;
    rows += tiles[t].mr;
  }
  return p.pairs != nullptr && rows >= 32;
}
#endif

// Whether the micro-kernel for panels of `width` columns applies the activation, so that nothing is left to finish.
inline bool in_registers(const Epilogue& e, int32_t width, bool pairs) {
#if defined(__AVX512F__)
  const bool vectors = width >= Thin::N;
#elif defined(TC_ACTIVATES)
  const bool vectors = width >= Full::N;
#else
  const bool vectors = false;
#endif
  return vectors && !pairs && !late_residual(e.residual_mode) &&
         (e.activation == TC_ACTIVATION_HARD_SWISH || e.activation == TC_ACTIVATION_PRELU);
}

// All tiles of a block against panels [first, last): each panel is read once from memory and stays in cache for the block.
TC_NOINLINE void run_block(const Product& p, const Tile* tiles, int count, int64_t first, int64_t last) {
  const int64_t padded = padded_columns(p.n, p.granule);
  Slice s = {};
  s.lo = clamp_low(p.epilogue);
  s.hi = clamp_high(p.epilogue);
  int64_t column = panel_start(first, padded, p.panel);
  for (int64_t i = first; i < last; ++i) {
    const int32_t width = panel_width(column, padded, p.panel);
    const int32_t step = slice_width(width);
    for (int32_t part = 0; part < width; part += step) {
      s.b = p.b + p.k * column + part;
      s.ldb = width;
#if defined(__AVX2__)
      s.pairs = width == PAIR_COLUMNS && pairs_pay(p, tiles, count);
      if (s.pairs) {
        pack_pairs(s.b, p.k, p.pairs);
        s.b = p.pairs;
      }
#endif
      s.activation = in_registers(p.epilogue, step, s.pairs) ? p.epilogue.activation : (int32_t)TC_ACTIVATION_NONE;
      // Tiles are finished one call later: what has just been stored can't be loaded at once.
      const bool finishes = needs_finish(p.epilogue) && s.activation == TC_ACTIVATION_NONE;
      int finished = 0;
      for (int t = 0; t < count;) {
        const int begun = t;
        t += run_tiles(p, tiles + t, count - t, s, column + part, step);
        for (; finishes && finished < begun; ++finished) finish_columns(p, tiles[finished], column + part, step);
      }
      for (; finishes && finished < count; ++finished) finish_columns(p, tiles[finished], column + part, step);
    }
    column += width;
  }
}

// As run_block for gated panels: their sums are taken aside and meet while they lie in cache.
TC_NOINLINE void run_gated_block(const Product& p, const Tile* tiles, int count, int64_t first, int64_t last) {
  E sums[MAX_TILES * MR * NR];
  const int64_t padded = padded_columns(p.n, p.granule);
  Product panel = p;
  panel.epilogue = {TC_ACTIVATION_NONE, 0.0f, 0.0f, TC_RESIDUAL_NONE, nullptr};
  int64_t column = panel_start(first, padded, p.panel);
  for (int64_t i = first; i < last; ++i, column += panel.n) {
    const int32_t width = panel_width(column, padded, p.panel);
    panel.b = p.b + p.k * column;
    panel.bias = p.bias + column;
    panel.n = panel.ldc = panel.panel = panel.granule = width;
    const int64_t left = p.n / 2 - column / 2, features = left < width / 2 ? left : width / 2;
    const int room = MAX_TILES * NR / width;
    for (int begin = 0, next; begin < count; begin = next) {
      next = begin + room < count ? begin + room : count;
      Tile aside[MAX_TILES];
      for (int t = begin; t < next; ++t) {
        aside[t - begin] = tiles[t];
        aside[t - begin].c = sums + (t - begin) * MR * width;
      }
      run_block(panel, aside, next - begin, 0, 1);
      for (int t = begin; t < next; ++t) {
        finish_gated(p.epilogue, p.gate, tiles[t].mr, features, aside[t - begin].c, width / 2, tiles[t].c + column / 2, p.ldc);
      }
    }
  }
}

// Cuts `length` rows into the fewest tiles of at most `rows` and gives the i-th's bounds. Sizes differ by one at most, but where whole
// tiles are packed all but the last are whole.
TC_INLINE int64_t tile_count(int64_t length, int64_t rows = MR) { return (length + rows - 1) / rows; }
TC_INLINE int64_t tile_begin(int64_t length, int64_t index, int64_t rows = MR) {
#if defined(TC_PACKED)
  return rows * index < length ? rows * index : length;
#else
  return length * index / tile_count(length, rows);
#endif
}

}  // namespace

#endif
