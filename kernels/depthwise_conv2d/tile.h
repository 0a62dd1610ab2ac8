// The depthwise micro-kernels: square kernels of 3 and 5 taps, step 1 and 2. A tile is one or two output rows by COLUMNS columns: each
// input vector is loaded once for every tap of its rows that uses it. Include one ISA's header and define TC_COLUMNS (output columns of a
// tile) first; TC_OUT_OF_ORDER where AArch64 cores are.
#ifndef TIERCAST_DEPTHWISE_CONV2D_TILE_H_
#define TIERCAST_DEPTHWISE_CONV2D_TILE_H_

#include "simd/epilogue.h"

namespace {

#if defined(__aarch64__) && defined(TC_OUT_OF_ORDER)
// One instruction loads or stores two vectors of channels and goes on to the next column; in-order cores would wait for each.
#define TC_CHANNEL_PAIRS
enum { TILE_COLUMNS = TC_COLUMNS, TILE_ROWS = 1, TILE_VECTORS = 2 };
#elif defined(__arm__)
enum { TILE_COLUMNS = TC_COLUMNS / 2, TILE_ROWS = 2, TILE_VECTORS = 1 };  // ARMv7 has half of AArch64's registers
#else
enum { TILE_COLUMNS = TC_COLUMNS, TILE_ROWS = 2, TILE_VECTORS = 1 };
#endif
// Where a tile lies: away from the borders; whole, but its first or last KERNEL / 2 input columns may be outside; anywhere.
enum Where { INSIDE, BORDER, EDGE };
enum { TILE_CHANNELS = TILE_VECTORS * VL, MAX_TILE_INPUTS = (TILE_COLUMNS - 1) * 2 + 5, MAX_TILE_LINES = (TILE_ROWS - 1) * 2 + 5 };

// The channels that a tile computes together.
struct Lanes {
  V part[TILE_VECTORS];
};

#if defined(TC_CHANNEL_PAIRS)
TC_INLINE Lanes lanes_load(const E* p) {
  const float32x4x2_t pair = vld1q_f32_x2(p);
  return {{pair.val[0], pair.val[1]}};
}
TC_INLINE void lanes_store(E* p, Lanes x) {
  const float32x4x2_t pair = {{x.part[0], x.part[1]}};
  vst1q_f32_x2(p, pair);
}
#else
TC_INLINE Lanes lanes_load(const E* p) { return {{v_load(p)}}; }
TC_INLINE void lanes_store(E* p, Lanes x) { v_store(p, x.part[0]); }
#endif
TC_INLINE Lanes lanes_zero() {
  Lanes x;
  for (int i = 0; i < TILE_VECTORS; ++i) x.part[i] = v_zero();
  return x;
}
TC_INLINE Lanes lanes_fma(Lanes a, Lanes b, Lanes c) {
  for (int i = 0; i < TILE_VECTORS; ++i) c.part[i] = v_fma(a.part[i], b.part[i], c.part[i]);
  return c;
}
TC_INLINE Lanes lanes_add(Lanes a, Lanes b) {
  for (int i = 0; i < TILE_VECTORS; ++i) a.part[i] = v_add(a.part[i], b.part[i]);
  return a;
}

// Sums are made in the order in which they are written: the compiler would put off many of them, and then spill.
TC_INLINE void keep_order(Lanes* sum) {
#if defined(TC_CHANNEL_PAIRS)
  __asm__ volatile("" : "+w"(sum->part[0]), "+w"(sum->part[1]));
#endif
}

// The rows of a matrix, asked for one after the other. Pairs add the pitch while they are loaded or stored; else its multiples are
// computed once for all channels.
template <class T>
struct Walk {
  T* at;
  int64_t pitch;
#if defined(TC_CHANNEL_PAIRS)
  TC_INLINE T* next(int) {
    T* now = at;
    at += pitch;
    return now;
  }
#else
  TC_INLINE T* next(int index) const { return at + index * pitch; }
#endif
};

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
  int64_t count;                     // at an edge: output columns wanted; inside: tiles in a row, this being the first
};

// Activations that a tile applies while its sums are in registers; the others take another pass.
TC_INLINE bool tile_applies(int32_t activation) {
  return clamps(activation) || activation == TC_ACTIVATION_PRELU || activation == TC_ACTIVATION_HARD_SWISH;
}

// Reads the input columns of one row of a tile at `x`, in order: false for one of zeros.
template <int COLUMNS, int KERNEL, int STEP, Where WHERE>
struct Inputs {
  enum { COUNT = (COLUMNS - 1) * STEP + KERNEL, HALF = KERNEL / 2 };
  const Place& at;
  const E* x;
  Walk<const E> columns;

  TC_INLINE Inputs(const Filter& f, const Place& place, const E* row)
      : at(place), x(row), columns{WHERE == BORDER ? row + place.offsets[HALF] : row, f.x_pitch} {}
  TC_INLINE bool read(int i, Lanes* in) {
    const bool listed = WHERE == EDGE || (WHERE == BORDER && (i < HALF || i >= COUNT - HALF));
    if (listed && at.offsets[i] < 0) return false;
    *in = lanes_load(listed ? x + at.offsets[i] : columns.next(WHERE == BORDER ? i - HALF : i));
    return true;
  }
};

// All input rows of a tile of one output row. Column by column, so that few inputs are in registers beside the taps of the row.
template <int COLUMNS, int KERNEL, int STEP, Where WHERE>
TC_INLINE void add_by_column(const Filter& f, const Place& at, int64_t c, Lanes (&acc)[COLUMNS]) {
#pragma clang loop unroll(full)
  for (int line = 0; line < KERNEL; ++line) {
    if (at.x[line] == nullptr) continue;
    Lanes taps[KERNEL];
    Walk<const E> w = {f.weight + line * KERNEL * f.c + c, f.c};
    for (int k = 0; k < KERNEL; ++k) taps[k] = lanes_load(w.next(k));
    Inputs<COLUMNS, KERNEL, STEP, WHERE> inputs(f, at, at.x[line] + c);
#pragma clang loop unroll(full)
    for (int i = 0; i < inputs.COUNT; ++i) {
      Lanes in;
      if (!inputs.read(i, &in)) continue;
#pragma clang loop unroll(full)
      for (int t = 0; t < COLUMNS; ++t) {
        const int k = i - t * STEP;
        if (k < 0 || k >= KERNEL) continue;
        acc[t] = lanes_fma(in, taps[k], acc[t]);
        keep_order(&acc[t]);
      }
    }
  }
}

// Input rows [from, to) of the tile, which output rows [FIRST, LAST) use. Tap by tap, with all inputs of a row in registers.
template <int FIRST, int LAST, int ROWS, int COLUMNS, int KERNEL, int STEP, Where WHERE>
TC_INLINE void add_lines(const Filter& f, const Place& at, int64_t c, int from, int to, Lanes (&acc)[ROWS][COLUMNS]) {
  typedef Inputs<COLUMNS, KERNEL, STEP, WHERE> Row;
  for (int line = from; line < to; ++line) {
    if (at.x[line] == nullptr) continue;
    Row inputs(f, at, at.x[line] + c);
    Lanes in[Row::COUNT];
    for (int i = 0; i < Row::COUNT; ++i) {
      if (!inputs.read(i, &in[i])) in[i] = lanes_zero();
    }
    for (int r = FIRST; r < LAST; ++r) {
      const E* w = f.weight + (line - r * STEP) * KERNEL * f.c + c;
      for (int k = 0; k < KERNEL; ++k) {
        const Lanes tap = lanes_load(w + k * f.c);
        for (int t = 0; t < COLUMNS; ++t) acc[r][t] = lanes_fma(in[t * STEP + k], tap, acc[r][t]);
      }
    }
  }
}

// Stores last(sum) of each output.
template <int ROWS, int COLUMNS, Where WHERE, class F>
TC_INLINE void store_tile(const Filter& f, const Place& at, int64_t c, const Lanes (&acc)[ROWS][COLUMNS], F last) {
#pragma clang loop unroll(full)
  for (int r = 0; r < ROWS; ++r) {
    Walk<E> y = {at.y[r] + c, f.y_pitch};
#pragma clang loop unroll(full)
    for (int t = 0; t < COLUMNS; ++t) {
      if (WHERE == EDGE && t >= at.count) continue;
      Lanes x = acc[r][t];
      for (int i = 0; i < TILE_VECTORS; ++i) x.part[i] = last(x.part[i], i);
      lanes_store(y.next(t), x);
    }
  }
}

// TILE_CHANNELS channels from `c`.
template <int ROWS, int COLUMNS, int KERNEL, int STEP, Where WHERE>
TC_INLINE void tile_lanes(const Filter& f, const Place& at, int64_t c) {
  Lanes acc[ROWS][COLUMNS];
  const Lanes bias = lanes_load(f.bias + c);
  for (int r = 0; r < ROWS; ++r) {
    for (int t = 0; t < COLUMNS; ++t) acc[r][t] = bias;
  }
  if constexpr (TILE_ROWS == 1) {
    add_by_column<COLUMNS, KERNEL, STEP, WHERE>(f, at, c, acc[0]);
  } else if constexpr (ROWS == 1) {
    add_lines<0, 1, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, 0, KERNEL, acc);
  } else {
    add_lines<0, 1, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, 0, STEP, acc);
    add_lines<0, 2, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, STEP, KERNEL, acc);
    add_lines<1, 2, ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c, KERNEL, KERNEL + STEP, acc);
  }
#pragma clang loop unroll(full)
  for (int r = 0; r < ROWS; ++r) {
    if (at.residual[r] == nullptr) continue;
    Walk<const E> residual = {at.residual[r] + c, f.residual_pitch};
#pragma clang loop unroll(full)
    for (int t = 0; t < COLUMNS; ++t) {
      if (WHERE != EDGE || t < at.count) acc[r][t] = lanes_add(acc[r][t], lanes_load(residual.next(t)));
    }
  }
  const auto store = [&](auto last) TC_LAMBDA_INLINE { store_tile<ROWS, COLUMNS, WHERE>(f, at, c, acc, last); };
  if (WHERE != EDGE && f.activation == TC_ACTIVATION_RELU) {  // whose other bound is infinite
    store([&](V x, int) TC_LAMBDA_INLINE { return Full::at_least(x, v_zero()); });
  } else if (f.activation == TC_ACTIVATION_PRELU) {
    const Lanes slope = lanes_load(f.slope + c);
    store([&](V x, int i) TC_LAMBDA_INLINE { return Full::prelu(x, slope.part[i]); });
  } else if (f.activation == TC_ACTIVATION_HARD_SWISH) {
    store([&](V x, int) TC_LAMBDA_INLINE { return Full::hard_swish(x); });
  } else {
    const V lo = v_set1(f.lo), hi = v_set1(f.hi);
    store([&](V x, int) TC_LAMBDA_INLINE { return Full::clamp(x, lo, hi); });
  }
}

// Channels [begin, end), at least TILE_CHANNELS: the last ones may overlap those before.
template <int ROWS, int COLUMNS, int KERNEL, int STEP, Where WHERE>
TC_NOINLINE void tile(const Filter& filter, const Place& place, int64_t begin, int64_t end) {
  const Filter f = filter;  // copies, which no store can change: all addresses are computed once
  Place at = place;
  const int64_t last = end - TILE_CHANNELS;
  for (int64_t left = WHERE == INSIDE ? at.count : 1; left > 0; --left) {
    for (int64_t c = begin;; c = c + TILE_CHANNELS < last ? c + TILE_CHANNELS : last) {
      tile_lanes<ROWS, COLUMNS, KERNEL, STEP, WHERE>(f, at, c);
      if (c >= last) break;
    }
    if (WHERE != INSIDE) return;
    for (int i = 0; i < (ROWS - 1) * STEP + KERNEL; ++i) {
      if (at.x[i] != nullptr) at.x[i] += COLUMNS * STEP * f.x_pitch;
    }
    for (int r = 0; r < ROWS; ++r) {
      at.y[r] += COLUMNS * f.y_pitch;
      if (at.residual[r] != nullptr) at.residual[r] += COLUMNS * f.residual_pitch;
    }
  }
}

typedef void (*TileFn)(const Filter&, const Place&, int64_t begin, int64_t end);

// The micro-kernels of one kernel, step and width. A single row of tiles of two, which is the last of an odd number, has only one.
struct TileSet {
  TileFn inside, border, edge, single;
  int columns, edge_columns, kernel, step;
};

template <int COLUMNS, int EDGE_COLUMNS, int KERNEL, int STEP>
inline TileSet tile_set() {
  TileSet set = {};
  set.inside = tile<TILE_ROWS, COLUMNS, KERNEL, STEP, INSIDE>;
  set.border = tile<TILE_ROWS, COLUMNS, KERNEL, STEP, BORDER>;
  set.edge = tile<TILE_ROWS, EDGE_COLUMNS, KERNEL, STEP, EDGE>;
  if constexpr (TILE_ROWS > 1) set.single = tile<1, COLUMNS, KERNEL, STEP, EDGE>;
  set.columns = COLUMNS;
  set.edge_columns = EDGE_COLUMNS;
  set.kernel = KERNEL;
  set.step = STEP;
  return set;
}

// Narrower tiles waste less where the width is a multiple of them. Edges are rare: short code for them, the same for both.
template <int KERNEL, int STEP>
inline TileSet tile_set_for(int64_t width) {
  enum {
    WIDE = TILE_ROWS == 1 || STEP == 1 || KERNEL == 3 ? TILE_COLUMNS : TILE_COLUMNS / 2,
    NARROW = WIDE - 1,
    LEAST = WIDE < 4 ? WIDE : 4
  };
  const int64_t wide = (width + WIDE - 1) / WIDE * WIDE, narrow = (width + NARROW - 1) / NARROW * NARROW;
  return narrow < wide ? tile_set<NARROW, LEAST, KERNEL, STEP>() : tile_set<WIDE, LEAST, KERNEL, STEP>();
}

inline bool has_tiles(int64_t kernel, int64_t step) { return (kernel == 3 || kernel == 5) && (step == 1 || step == 2); }

// The tiles for rows of `width` outputs of a kernel that has them.
inline TileSet choose_tiles(int64_t kernel, int64_t step, int64_t width) {
  if (kernel == 3) return step == 1 ? tile_set_for<3, 1>(width) : tile_set_for<3, 2>(width);
  return step == 1 ? tile_set_for<5, 1>(width) : tile_set_for<5, 2>(width);
}

}  // namespace

#endif
