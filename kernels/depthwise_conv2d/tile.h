// The depthwise micro-kernels: square kernels of 3 and 5 taps, step 1 and 2. A tile is one or two output rows by COLUMNS columns: each
// input vector is loaded once for every tap of both rows that uses it. Include one ISA's header and
// define TC_COLUMNS (output columns of a tile) first.
#ifndef TIERCAST_DEPTHWISE_CONV2D_TILE_H_
#define TIERCAST_DEPTHWISE_CONV2D_TILE_H_

#include "simd/epilogue.h"

namespace {

#if defined(__arm__)
enum { TILE_COLUMNS = TC_COLUMNS / 2 };  // ARMv7 has half of AArch64's registers
#else
enum { TILE_COLUMNS = TC_COLUMNS };
#endif
// Where a tile lies: away from the borders; whole, but its first or last KERNEL / 2 input columns may be outside; anywhere.
enum Where { INSIDE, BORDER, EDGE };
enum { TILE_ROWS = 2, WIDEST_TILE = 8, MAX_TILE_INPUTS = (WIDEST_TILE - 1) * 2 + 5, MAX_TILE_LINES = 2 + 5 };

// What all tiles of a call share. Pitches in elements; `c` is the pitch of the weights, [kernel * kernel][c].
struct Filter {
  const E *weight, *bias, *slope;
  int64_t c;
  int64_t x_pitch, y_pitch, residual_pitch;  // between the input columns of neighbouring taps, the outputs of a tile, their residuals
  int32_t activation;                        // none and clip are one: clamped to lo, hi
  float lo, hi;
};

// One tile's operands. x: the input rows (NULL for one of zeros), y and residual: the output rows, all at channel 0 of the first column.
struct Place {
  const E* x[MAX_TILE_LINES];
  E* y[TILE_ROWS];
  const E* residual[TILE_ROWS];      // added before the clamp; NULL when there is none
  int64_t offsets[MAX_TILE_INPUTS];  // unless inside: each input column's from x, -1 for one of zeros
  int64_t count;                     // of a tile at an edge: output columns wanted
};

// Activations that a tile applies while its sums are in registers; the others take another pass.
TC_INLINE bool tile_applies(int32_t activation) {
  return clamps(activation) || activation == TC_ACTIVATION_PRELU || activation == TC_ACTIVATION_HARD_SWISH;
}

// Input rows [from, to) of the tile, which output rows [FIRST, LAST) use.
template <int FIRST, int LAST, int ROWS, int COLUMNS, int KERNEL, int STEP, Where WHERE>
TC_INLINE void add_lines(const Filter& f, const Place& at, int64_t c, int from, int to, V (&acc)[ROWS][COLUMNS]) {
  enum { INPUTS = (COLUMNS - 1) * STEP + KERNEL };
  for (int line = from; line < to; ++line) {
    if (at.x[line] == nullptr) continue;
    const E* x = at.x[line] + c;
    const E* middle = WHERE == BORDER ? x + at.offsets[KERNEL / 2] : x;
    V in[INPUTS];
    for (int i = 0; i < INPUTS; ++i) {
      if (WHERE == EDGE || (WHERE == BORDER && (i < KERNEL / 2 || i >= INPUTS - KERNEL / 2))) {
        in[i] = at.offsets[i] < 0 ? v_zero() : v_load(x + at.offsets[i]);
      } else {
        in[i] = v_load(middle + (WHERE == BORDER ? i - KERNEL / 2 : i) * f.x_pitch);
      }
    }
    for (int r = FIRST; r < LAST; ++r) {
      const E* w = f.weight + (line - r * STEP) * KERNEL * f.c + c;
      for (int k = 0; k < KERNEL; ++k) {
        const V tap = v_load(w + k * f.c);
        for (int t = 0; t < COLUMNS; ++t) acc[r][t] = v_fma(in[t * STEP + k], tap, acc[r][t]);
      }
    }
  }
}

// VL channels from `c`.
template <int ROWS, int COLUMNS, int KERNEL, int STEP, Where WHERE>
TC_INLINE void tile_vector(const Filter& f, const Place& at, int64_t c) {
  V acc[ROWS][COLUMNS];
  const V bias = v_load(f.bias + c);
  for (int r = 0; r < ROWS; ++r) {
    for (int t = 0; t < COLUMNS; ++t) acc[r][t] = bias;
  }
  if constexpr (ROWS == 1) {
    add_lines<0, 1, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, 0, KERNEL, acc);
  } else {
    add_lines<0, 1, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, 0, STEP, acc);
    add_lines<0, 2, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, STEP, KERNEL, acc);
    add_lines<1, 2, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, KERNEL, KERNEL + STEP, acc);
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < ROWS; ++r) {
    if (at.residual[r] == nullptr) continue;
#pragma clang loop unroll(full)
    for (int t = 0; t < COLUMNS; ++t) {
      if (WHERE != EDGE || t < at.count) acc[r][t] = v_add(acc[r][t], v_load(at.residual[r] + t * f.residual_pitch + c));
    }
  }
  const auto store = [&](auto last) TC_LAMBDA_INLINE {
#pragma clang loop unroll(full)
    for (int r = 0; r < ROWS; ++r) {
#pragma clang loop unroll(full)
      for (int t = 0; t < COLUMNS; ++t) {
        if (WHERE != EDGE || t < at.count) v_store(at.y[r] + t * f.y_pitch + c, last(acc[r][t]));
      }
    }
  };
  if (f.activation == TC_ACTIVATION_PRELU) {
    const V slope = v_load(f.slope + c);
    store([&](V x) TC_LAMBDA_INLINE { return activate(x, slope, TC_ACTIVATION_PRELU, 0.0f, 0.0f); });
  } else if (f.activation == TC_ACTIVATION_HARD_SWISH) {
    store([&](V x) TC_LAMBDA_INLINE { return activate(x, v_zero(), TC_ACTIVATION_HARD_SWISH, 0.0f, 0.0f); });
  } else {
    const V lo = v_set1(f.lo), hi = v_set1(f.hi);
    store([&](V x) TC_LAMBDA_INLINE { return Full::clamp(x, lo, hi); });
  }
}

// Channels [begin, end), at least VL: the last vector may overlap the one before.
template <int ROWS, int COLUMNS, int KERNEL, int STEP, Where WHERE>
TC_NOINLINE void tile(const Filter& filter, const Place& place, int64_t begin, int64_t end) {
  const Filter f = filter;  // copies, which no store can change: all addresses are computed once
  const Place at = place;
  for (int64_t c = begin; c < end; c += VL) {
    tile_vector<ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c + VL <= end ? c : end - VL);
  }
}

typedef void (*TileFn)(const Filter&, const Place&, int64_t begin, int64_t end);

// The micro-kernels of one kernel, step and width. A single row, which is the last of an odd number, has no variant for the inside.
struct TileSet {
  TileFn inside, border, edge, single;
  int columns, kernel, step;
};

template <int COLUMNS, int KERNEL, int STEP>
inline TileSet tile_set() {
  return {tile<2, COLUMNS, KERNEL, STEP, INSIDE>,
          tile<2, COLUMNS, KERNEL, STEP, BORDER>,
          tile<2, COLUMNS, KERNEL, STEP, EDGE>,
          tile<1, COLUMNS, KERNEL, STEP, EDGE>,
          COLUMNS,
          KERNEL,
          STEP};
}

// Narrower tiles waste less where the width is a multiple of them.
template <int KERNEL, int STEP>
inline TileSet tile_set_for(int64_t width) {
  enum { WIDE = STEP == 1 || KERNEL == 3 ? TILE_COLUMNS : TILE_COLUMNS / 2, NARROW = WIDE - 1 };
  const int64_t wide = (width + WIDE - 1) / WIDE * WIDE, narrow = (width + NARROW - 1) / NARROW * NARROW;
  return narrow < wide ? tile_set<NARROW, KERNEL, STEP>() : tile_set<WIDE, KERNEL, STEP>();
}

inline bool has_tiles(int64_t kernel, int64_t step) { return (kernel == 3 || kernel == 5) && (step == 1 || step == 2); }

// The tiles for rows of `width` outputs of a kernel that has them.
inline TileSet choose_tiles(int64_t kernel, int64_t step, int64_t width) {
  if (kernel == 3) return step == 1 ? tile_set_for<3, 1>(width) : tile_set_for<3, 2>(width);
  return step == 1 ? tile_set_for<5, 1>(width) : tile_set_for<5, 2>(width);
}

}  // namespace

#endif
