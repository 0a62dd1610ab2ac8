// rnn over the GEMM tiles of simd/gemm.h: a work item is one direction and up to MR batch rows, which walk all steps together.
#ifndef TIERCAST_RNN_RECURRENCE_H_
#define TIERCAST_RNN_RECURRENCE_H_

#include "rnn/cells.h"
#include "rnn/rnn.h"
#include "simd/copy_floats.h"

namespace {

// What one item walks with. Rows of `h` are h_pitch apart; gates[row][gate][padded].
struct Walk {
  const Rnn* v;
  int64_t direction, n0;
  int mr;
  float *gates, *gated, *zeros;
  const float* h;
  int64_t h_pitch;
};

// gates = h * R + bias for gates [first, last).
inline void multiply(const Walk& w, int64_t first, int64_t last, const float* h, int64_t h_pitch) {
  const Rnn& v = *w.v;
  for (int64_t gate = first; gate < last; ++gate) {
    const int64_t column = (w.direction * v.gates + gate) * v.padded;
    Product p = {};
    p.b = v.weight + column * v.hidden;
    p.bias = v.bias + column;
    p.k = v.hidden;
    p.n = v.hidden;
    p.panel = v.p->panel;
    p.granule = v.p->granule;
    p.ldc = v.gates * v.padded;
    p.epilogue = {TC_ACTIVATION_NONE, 0.0f, 0.0f, TC_RESIDUAL_NONE, nullptr};
    const Tile tile = {plain_rows(h, h_pitch, v.hidden), w.mr, w.gates + gate * v.padded, nullptr};
    run_block(p, &tile, 1, 0, panel_count(v.padded, v.p->panel));
  }
}

TC_INLINE V part(const float* from, int64_t left) { return left >= VL ? v_load(from) : v_load_n(from, left); }
TC_INLINE void put(float* to, V x, int64_t left) {
  if (left >= VL) {
    v_store(to, x);
  } else {
    v_store_n(to, x, left);
  }
}

// gated = sigmoid(projected r + recurrent r) * h: what the h gate's product takes when the reset comes before it.
inline void gate_state(const Walk& w, int64_t step) {
  const Rnn& v = *w.v;
  for (int r = 0; r < w.mr; ++r) {
    const float* p = projected_row(v, step, w.direction, w.n0 + r) + v.hidden;
    const float* g = w.gates + r * v.gates * v.padded + v.padded;
    for (int64_t u = 0; u < v.hidden; u += VL) {
      const int64_t left = v.hidden - u;
      const V reset = v_sigmoid(v_add(part(p + u, left), part(g + u, left)));
      put(w.gated + r * v.padded + u, v_mul(reset, part(w.h + r * w.h_pitch + u, left)), left);
    }
  }
}

inline V unit_step(const Rnn& v, const float* p, const float* g, const float* h, float* c, int64_t left) {
  V in[4], rec[4];
  for (int64_t gate = 0; gate < v.gates; ++gate) {
    in[gate] = part(p + gate * v.hidden, left);
    rec[gate] = part(g + gate * v.padded, left);
  }
  if (v.p->kind == TC_RNN_KIND_GRU) {
    return gru_cell(in[0], rec[0], in[1], rec[1], in[2], rec[2], part(h, left), v.p->linear_before_reset != 0);
  }
  if (v.p->kind != TC_RNN_KIND_LSTM) return v_tanh(v_add(in[0], rec[0]));
  V state = part(c, left);
  const V out = lstm_cell(v_add(in[0], rec[0]), v_add(in[1], rec[1]), v_add(in[2], rec[2]), v_add(in[3], rec[3]), &state);
  put(c, state, left);
  return out;
}

TC_NOINLINE void finish_step(const Walk& w, int64_t step) {
  const Rnn& v = *w.v;
  for (int r = 0; r < w.mr; ++r) {
    const float* p = projected_row(v, step, w.direction, w.n0 + r);
    const float* g = w.gates + r * v.gates * v.padded;
    float* out = y_row(v, step, w.direction, w.n0 + r);
    float* c = v.c == nullptr ? nullptr : row_of(*v.c, w.direction, w.n0 + r);
    for (int64_t u = 0; u < v.hidden; u += VL) {
      const int64_t left = v.hidden - u;
      put(out + u, unit_step(v, p + u, g + u, w.h + r * w.h_pitch + u, c == nullptr ? nullptr : c + u, left), left);
    }
  }
}

inline void start(Walk* w) {
  const Rnn& v = *w->v;
  w->h = w->zeros;
  w->h_pitch = v.padded;
  zero_floats(w->zeros, w->mr * v.padded);
  if (v.initial_h != nullptr) {
    w->h = row_of(*v.initial_h, w->direction, w->n0);
    w->h_pitch = v.initial_h->strides[1];
  }
  for (int r = 0; v.c != nullptr && r < w->mr; ++r) {
    float* c = row_of(*v.c, w->direction, w->n0 + r);
    if (v.initial_c != nullptr) {
      copy_floats(c, row_of(*v.initial_c, w->direction, w->n0 + r), v.hidden);
    } else {
      zero_floats(c, v.hidden);
    }
  }
}

inline void walk(Walk* w) {
  const Rnn& v = *w->v;
  const bool reset_first = v.p->kind == TC_RNN_KIND_GRU && v.p->linear_before_reset == 0;
  start(w);
  for (int64_t i = 0; i < v.steps; ++i) {
    const int64_t step = runs_backwards(v, w->direction) ? v.steps - 1 - i : i;
    multiply(*w, 0, reset_first ? 2 : v.gates, w->h, w->h_pitch);
    if (reset_first) {
      gate_state(*w, step);
      multiply(*w, 2, 3, w->gated, v.padded);
    }
    finish_step(*w, step);
    w->h = y_row(v, step, w->direction, w->n0);
    w->h_pitch = v.y->strides[2];
  }
  for (int r = 0; r < w->mr; ++r) copy_floats(row_of(*v.h, w->direction, w->n0 + r), w->h + r * w->h_pitch, v.hidden);
}

int64_t work(const tc_call* call) {
  const Rnn v = rnn_of(call);
  return v.directions * tile_count(v.batch);
}

void run(const tc_call* call, int64_t begin, int64_t end) {
  static_assert(MR <= BATCH_ROWS, "scratch holds BATCH_ROWS rows");
  const Rnn v = rnn_of(call);
  const int64_t tiles = tile_count(v.batch);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t tile = item % tiles, n0 = tile_begin(v.batch, tile);
    Walk w = {};
    w.v = &v;
    w.direction = item / tiles;
    w.n0 = n0;
    w.mr = (int)(tile_begin(v.batch, tile + 1) - n0);
    w.gates = (float*)call->scratch;
    w.gated = w.gates + BATCH_ROWS * v.gates * v.padded;
    w.zeros = w.gated + BATCH_ROWS * v.padded;
    walk(&w);
  }
}

}  // namespace

#endif
