// What check, the portable row and the fast rows of rnn agree on.
//
// The input's products with W are computed before, by a matmul over all steps: this op does the recurrence. Gates stand in ONNX order
// (gru: z r h; lstm: i o f c). Units go in blocks of UNITS; a block's weights are [hidden][gates][UNITS], so that one sweep over the state
// gives all gates of its units.
#ifndef TIERCAST_RNN_H_
#define TIERCAST_RNN_H_

#include "rnn_params.h"
#include "simd/checked.h"

namespace {

enum { RNN_PROJECTED = 0, RNN_WEIGHT, RNN_BIAS, RNN_INITIAL_H, RNN_INITIAL_C, RNN_INPUTS };
enum { RNN_Y = 0, RNN_H, RNN_C, RNN_OUTPUTS };
enum { UNITS = 16 };
enum { BATCH_ROWS = 4 };  // at least the batch rows that any row of the manifest walks with

// projected [steps, batch, directions * gates * hidden]; weight [directions][blocks][hidden][gates][UNITS]; bias
// [directions][blocks][gates][UNITS]; initial_h, initial_c [directions, batch, hidden] or absent (zeros). y [steps, directions, batch,
// hidden]; h, c [directions, batch, hidden].
struct Rnn {
  const tc_rnn_params* p;
  const tc_view *projected, *y, *h, *c;
  const tc_view *initial_h, *initial_c;  // NULL when absent
  const float *weight, *bias;
  int64_t steps, batch, directions, gates, hidden, blocks;
};

inline int64_t gate_count(int32_t kind) { return kind == TC_RNN_KIND_LSTM ? 4 : kind == TC_RNN_KIND_GRU ? 3 : 1; }
inline int64_t direction_count(int32_t direction) { return direction == TC_DIRECTION_BIDIRECTIONAL ? 2 : 1; }
inline int64_t unit_blocks(int64_t hidden) { return (hidden + UNITS - 1) / UNITS; }

inline Rnn rnn_of(const tc_call* call) {
  Rnn v = {};
  v.p = (const tc_rnn_params*)call->params;
  v.projected = &call->inputs[RNN_PROJECTED];
  v.weight = (const float*)call->inputs[RNN_WEIGHT].data;
  v.bias = (const float*)call->inputs[RNN_BIAS].data;
  v.initial_h = call->inputs[RNN_INITIAL_H].rank == 0 ? nullptr : &call->inputs[RNN_INITIAL_H];
  v.initial_c = call->inputs[RNN_INITIAL_C].rank == 0 ? nullptr : &call->inputs[RNN_INITIAL_C];
  v.y = &call->outputs[RNN_Y];
  v.h = &call->outputs[RNN_H];
  v.c = v.p->kind == TC_RNN_KIND_LSTM ? &call->outputs[RNN_C] : nullptr;
  v.steps = v.y->dims[0];
  v.directions = v.y->dims[1];
  v.batch = v.y->dims[2];
  v.hidden = v.y->dims[3];
  v.gates = gate_count(v.p->kind);
  v.blocks = unit_blocks(v.hidden);
  return v;
}

inline bool runs_backwards(const Rnn& v, int64_t direction) { return v.p->direction == TC_DIRECTION_REVERSE || direction == 1; }

// Weights [hidden][gates][UNITS] and bias [gates][UNITS] of a block of units.
inline const float* weight_of(const Rnn& v, int64_t direction, int64_t block) {
  return v.weight + (direction * v.blocks + block) * v.hidden * v.gates * UNITS;
}
inline const float* bias_of(const Rnn& v, int64_t direction, int64_t block) {
  return v.bias + (direction * v.blocks + block) * v.gates * UNITS;
}

// A row of a [outer, middle, row...] view, batch row `n` of it.
inline float* row_of(const tc_view& view, int64_t direction, int64_t n) {
  return (float*)view.data + direction * view.strides[0] + n * view.strides[1];
}
inline float* y_row(const Rnn& v, int64_t step, int64_t direction, int64_t n) {
  return (float*)v.y->data + step * v.y->strides[0] + direction * v.y->strides[1] + n * v.y->strides[2];
}
inline const float* projected_row(const Rnn& v, int64_t step, int64_t direction, int64_t n) {
  return (const float*)v.projected->data + step * v.projected->strides[0] + n * v.projected->strides[1] + direction * v.gates * v.hidden;
}

// Scratch of one thread: for BATCH_ROWS rows a zero state, the gated state and the update gate.
inline Checked rnn_scratch_bytes(int64_t hidden) {
  return Checked(unit_blocks(hidden)) * (3 * UNITS * BATCH_ROWS * (int64_t)sizeof(float));
}

}  // namespace

#endif
