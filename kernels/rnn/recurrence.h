// rnn's fast rows: a work item is one direction and up to ROWS batch rows, which walk all steps together.
// Include one ISA's header and define TC_MR (batch rows that sums in registers allow) first.
#ifndef TIERCAST_RNN_RECURRENCE_H_
#define TIERCAST_RNN_RECURRENCE_H_

#include "rnn/cells.h"
#include "rnn/rnn.h"
#include "simd/copy_floats.h"

namespace {

#if defined(__arm__)
enum { ROWS = TC_MR / 2, SUMS = 8 };  // ARMv7 has half of AArch64's registers
#elif defined(__AVX512F__) || defined(__aarch64__)
enum { ROWS = TC_MR, SUMS = 16 };
#else
enum { ROWS = TC_MR, SUMS = 8 };
#endif

// What one item walks with. Rows of `h` are h_pitch apart, those of scratch `pitch`.
struct Walk {
  const Rnn* v;
  int64_t direction, n0, rows, pitch;
  float *zeros, *gated, *update;
  const float* h;
  int64_t h_pitch;
};

// Sums of G gates of a block of units for each batch row.
struct Gates {
  float at[ROWS][4][UNITS];
};

// Vectors per gate that R rows of G gates have registers for.
template <int R, int G>
struct VectorsOf {
  enum { most = UNITS / VL, fit = SUMS / (R * G), value = fit >= most ? most : fit >= 2 && most >= 2 ? 2 : 1 };
};

// out[r][gate0..] = h * weight + bias for G gates. Few sums are kept twice, as one FMA waits for the one before.
template <int R, int G>
TC_NOINLINE void multiply(const Rnn& v, const float* h, int64_t h_pitch, const float* weight, const float* bias, int64_t gate0, Gates* out,
                          int64_t row0) {
  enum { NV = VectorsOf<R, G>::value, SETS = 2 * R * G * NV <= SUMS ? 2 : 1 };
  const int64_t step = v.gates * UNITS;
  weight += gate0 * UNITS;
  bias += gate0 * UNITS;
  for (int u = 0; u < UNITS; u += NV * VL) {
    V sum[SETS][R][G][NV];
    for (int g = 0; g < G; ++g) {
      for (int i = 0; i < NV; ++i) {
        const V start = v_load(bias + g * UNITS + u + i * VL);
        for (int r = 0; r < R; ++r) {
          sum[0][r][g][i] = start;
          if (SETS > 1) sum[SETS - 1][r][g][i] = v_zero();
        }
      }
    }
    const float* b = weight + u;
    const auto accumulate = [&](int set, int64_t k) TC_LAMBDA_INLINE {
      V x[R];
      for (int r = 0; r < R; ++r) x[r] = v_set1(h[r * h_pitch + k]);
      for (int g = 0; g < G; ++g) {
        for (int i = 0; i < NV; ++i) {
          const V w = v_load(b + g * UNITS + i * VL);
          for (int r = 0; r < R; ++r) sum[set][r][g][i] = v_fma(x[r], w, sum[set][r][g][i]);
        }
      }
      b += step;
    };
    int64_t k = 0;
    for (; k + SETS <= v.hidden; k += SETS) {
      for (int set = 0; set < SETS; ++set) accumulate(set, k + set);
    }
    for (; k < v.hidden; ++k) accumulate(0, k);
    for (int r = 0; r < R; ++r) {
      for (int g = 0; g < G; ++g) {
        for (int i = 0; i < NV; ++i) {
          const V total = SETS > 1 ? v_add(sum[0][r][g][i], sum[SETS - 1][r][g][i]) : sum[0][r][g][i];
          v_store(out->at[row0 + r][gate0 + g] + u + i * VL, total);
        }
      }
    }
  }
}

// Gates [gate0, gate0 + G) of a block for all rows of the walk: together when they are ROWS, else one by one, with weights in cache.
template <int G>
TC_INLINE void multiply_rows(const Walk& w, int64_t block, const float* h, int64_t h_pitch, int64_t gate0, Gates* out) {
  const Rnn& v = *w.v;
  const float *weight = weight_of(v, w.direction, block), *bias = bias_of(v, w.direction, block);
  if (w.rows == ROWS) return multiply<ROWS, G>(v, h, h_pitch, weight, bias, gate0, out, 0);
  for (int64_t r = 0; r < w.rows; ++r) multiply<1, G>(v, h + r * h_pitch, h_pitch, weight, bias, gate0, out, r);
}

// Calls f(row, unit, sums of that unit, units left) for every vector of a block.
template <class F>
TC_INLINE void for_units(const Walk& w, int64_t block, const Gates& gates, F f) {
  for (int64_t r = 0; r < w.rows; ++r) {
    for (int64_t u = block * UNITS, i = 0; i < UNITS && u < w.v->hidden; i += VL, u += VL) {
      f(r, u, gates.at[r][0] + i, w.v->hidden - u);
    }
  }
}

// The update gate, and gated = reset * h: what the h gate's product takes when the reset comes before it.
TC_NOINLINE void gate_state(const Walk& w, int64_t step, int64_t block, const Gates& gates) {
  const int64_t hidden = w.v->hidden;
  for_units(w, block, gates, [&](int64_t r, int64_t u, const float* g, int64_t left) {
    const float* p = projected_row(*w.v, step, w.direction, w.n0 + r) + u;
    const V reset = v_sigmoid(v_add(load_piece(p + hidden, left), v_load(g + UNITS)));
    v_store(w.update + r * w.pitch + u, v_load(g));
    v_store(w.gated + r * w.pitch + u, v_mul(reset, load_piece(w.h + r * w.h_pitch + u, left)));
  });
}

TC_NOINLINE void finish_units(const Walk& w, int64_t step, int64_t block, const Gates& gates) {
  const Rnn& v = *w.v;
  const bool reset_first = v.p->linear_before_reset == 0;
  for_units(w, block, gates, [&](int64_t r, int64_t u, const float* g, int64_t left) {
    const float* p = projected_row(v, step, w.direction, w.n0 + r) + u;
    float* out = y_row(v, step, w.direction, w.n0 + r) + u;
    const auto in = [&](int gate) { return load_piece(p + gate * v.hidden, left); };
    const auto sum = [&](int gate) { return v_load(g + gate * UNITS); };
    if (v.p->kind == TC_RNN_KIND_GRU) {
      const V z = reset_first ? v_load(w.update + r * w.pitch + u) : sum(0), before = load_piece(w.h + r * w.h_pitch + u, left);
      store_piece(out, gru_cell(in(0), z, in(1), sum(1), in(2), sum(2), before, !reset_first), left);
    } else if (v.p->kind == TC_RNN_KIND_LSTM) {
      float* c = row_of(*v.c, w.direction, w.n0 + r) + u;
      V state = load_piece(c, left);
      store_piece(out, lstm_cell(v_add(in(0), sum(0)), v_add(in(1), sum(1)), v_add(in(2), sum(2)), v_add(in(3), sum(3)), &state), left);
      store_piece(c, state, left);
    } else {
      store_piece(out, v_tanh(v_add(in(0), sum(0))), left);
    }
  });
}

inline void start(Walk* w) {
  const Rnn& v = *w->v;
  w->h = w->zeros;
  w->h_pitch = w->pitch;
  zero_floats(w->zeros, w->rows * w->pitch);
  if (v.initial_h != nullptr) {
    w->h = row_of(*v.initial_h, w->direction, w->n0);
    w->h_pitch = v.initial_h->strides[1];
  }
  for (int64_t r = 0; v.c != nullptr && r < w->rows; ++r) {
    float* c = row_of(*v.c, w->direction, w->n0 + r);
    if (v.initial_c != nullptr) {
      copy_floats(c, row_of(*v.initial_c, w->direction, w->n0 + r), v.hidden);
    } else {
      zero_floats(c, v.hidden);
    }
  }
}

// One step of a block of units.
TC_INLINE void step_block(const Walk& w, int64_t step, int64_t block, bool reset_first) {
  Gates gates = {};
  if (reset_first) {
    multiply_rows<1>(w, block, w.gated, w.pitch, 2, &gates);
  } else if (w.v->gates == 3) {
    multiply_rows<3>(w, block, w.h, w.h_pitch, 0, &gates);
  } else if (w.v->gates == 4) {
    multiply_rows<4>(w, block, w.h, w.h_pitch, 0, &gates);
  } else {
    multiply_rows<1>(w, block, w.h, w.h_pitch, 0, &gates);
  }
  finish_units(w, step, block, gates);
}

inline void walk(Walk* w) {
  const Rnn& v = *w->v;
  const bool reset_first = v.p->kind == TC_RNN_KIND_GRU && v.p->linear_before_reset == 0;
  start(w);
  for (int64_t i = 0; i < v.steps; ++i) {
    const int64_t step = runs_backwards(v, w->direction) ? v.steps - 1 - i : i;
    for (int64_t block = 0; reset_first && block < v.blocks; ++block) {
      Gates gates = {};
      multiply_rows<2>(*w, block, w->h, w->h_pitch, 0, &gates);
      gate_state(*w, step, block, gates);
    }
    // Back and forth: the blocks that a step ends with are still in L1 when the next one starts.
    for (int64_t b = 0; b < v.blocks; ++b) step_block(*w, step, i % 2 == 0 ? b : v.blocks - 1 - b, reset_first);
    w->h = y_row(v, step, w->direction, w->n0);
    w->h_pitch = v.y->strides[2];
  }
  for (int64_t r = 0; r < w->rows; ++r) copy_floats(row_of(*v.h, w->direction, w->n0 + r), w->h + r * w->h_pitch, v.hidden);
}

int64_t work(const tc_call* call) {
  const Rnn v = rnn_of(call);
  return v.directions * ((v.batch + ROWS - 1) / ROWS);
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  static_assert(ROWS <= BATCH_ROWS, "scratch holds BATCH_ROWS rows");
  const Rnn v = rnn_of(call);
  const int64_t tiles = (v.batch + ROWS - 1) / ROWS;
  for (int64_t item = begin; item < end; ++item) {
    Walk w = {};
    w.v = &v;
    w.direction = item / tiles;
    w.n0 = item % tiles * ROWS;
    w.rows = v.batch - w.n0 < ROWS ? v.batch - w.n0 : ROWS;
    w.pitch = v.blocks * UNITS;
    w.zeros = (float*)call->scratch;
    w.gated = w.zeros + BATCH_ROWS * w.pitch;
    w.update = w.gated + BATCH_ROWS * w.pitch;
    walk(&w);
  }
}

}  // namespace

#endif
