// What check, the portable row and the fast rows of inverted_residual agree on: operands, geometry and the scratch they need.
#ifndef TIERCAST_INVERTED_RESIDUAL_H_
#define TIERCAST_INVERTED_RESIDUAL_H_

#include "inverted_residual_params.h"
#include "simd/checked.h"
#include "simd/panels.h"
#include "tc_enums.h"

namespace {

enum {
  IR_X = 0,
  IR_EXPAND_WEIGHT,
  IR_EXPAND_BIAS,
  IR_EXPAND_SLOPE,
  IR_FILTER,
  IR_FILTER_BIAS,
  IR_FILTER_SLOPE,
  IR_WEIGHT,
  IR_BIAS,
  IR_SLOPE,
  IR_RESIDUAL,
  IR_INPUTS
};

// The least hidden channels (a vector of any row), and the rows of scratch in which fast rows repack pixels or thin panels.
enum { IR_LEAST_HIDDEN = 16, IR_PACKED_ROWS = 48 };

// NHWC sizes of one call. Without expand weights x itself is filtered (c == hidden), without project weights y is the filter's result.
struct Block {
  const tc_inverted_residual_params* p;
  const tc_view *x, *y, *residual;  // residual: NULL when there is none
  bool expands, projects;
  int64_t n, h, w, c, hidden, oh, ow, oc;
  int64_t rows;   // output rows that are made together
  int64_t lines;  // expanded rows that these need
  int64_t bands;  // of output rows per image
};

inline const float* operand(const tc_call* call, int index) { return (const float*)call->inputs[index].data; }

inline Block block_of(const tc_call* call) {
  Block b = {};
  b.p = (const tc_inverted_residual_params*)call->params;
  b.x = &call->inputs[IR_X];
  b.y = &call->outputs[0];
  b.residual = b.p->residual_mode == TC_RESIDUAL_NONE ? nullptr : &call->inputs[IR_RESIDUAL];
  b.expands = present(call->inputs[IR_EXPAND_WEIGHT]);
  b.projects = present(call->inputs[IR_WEIGHT]);
  b.n = b.x->dims[0];
  b.h = b.x->dims[1];
  b.w = b.x->dims[2];
  b.c = b.x->dims[3];
  b.hidden = call->inputs[IR_FILTER_BIAS].dims[0];
  b.oh = b.y->dims[1];
  b.ow = b.y->dims[2];
  b.oc = b.y->dims[3];
  b.rows = b.p->rows < b.oh ? b.p->rows : b.oh;
  b.lines = (b.rows - 1) * b.p->stride + b.p->kernel;
  if (b.lines > b.h) b.lines = b.h;
  b.bands = (b.oh + b.p->band - 1) / b.p->band;
  return b;
}

// Scratch of one thread: a ring of expanded rows, the filtered rows, packed pixels.
inline Checked ring_floats(const Block& b) { return Checked(b.expands ? b.lines : 0) * b.w * b.hidden; }
inline Checked filtered_floats(const Block& b) { return Checked(b.projects ? b.rows : 0) * b.ow * b.hidden; }
inline Checked scratch_bytes(const Block& b) {
  const Checked packed = Checked(b.c > b.hidden ? b.c : b.hidden) * IR_PACKED_ROWS;
  return (ring_floats(b) + filtered_floats(b) + packed) * (int64_t)sizeof(float);
}

}  // namespace

#endif
