// What check, the portable row and the fast rows of matmul agree on.
#ifndef TIERCAST_MATMUL_H_
#define TIERCAST_MATMUL_H_

#include "matmul_params.h"
#include "simd/checked.h"
#include "simd/panels.h"

namespace {

enum { MM_A = 0, MM_B, MM_BIAS, MM_SLOPE, MM_RESIDUAL, MM_INPUTS };

// Sizes of one call: y[batch..., m, n] = a[batch..., m, k] * b[batch..., k, n]. Batch axes of a and b broadcast to y's.
// A packed b is [batch..., k * padded] (simd/panels.h); a computed one is [batch..., k, n], or [batch..., n, k] with trans_b.
struct Matmul {
  const tc_matmul_params* p;
  const tc_view *a, *b, *y, *residual;  // residual: NULL when there is none
  const E *bias, *slope;                // [padded]
  int64_t batch, m, k, n, padded;
  int64_t lda, ldy, ldr;
};

inline int64_t row_pitch(const tc_view& v) { return v.strides[v.rank - 2]; }

inline Matmul matmul_of(const tc_call* call) {
  Matmul v = {};
  v.p = (const tc_matmul_params*)call->params;
  v.a = &call->inputs[MM_A];
  v.b = &call->inputs[MM_B];
  v.y = &call->outputs[0];
  v.bias = (const E*)call->inputs[MM_BIAS].data;
  v.slope = (const E*)call->inputs[MM_SLOPE].data;
  v.residual = v.p->residual_mode == TC_RESIDUAL_NONE ? nullptr : &call->inputs[MM_RESIDUAL];
  v.batch = 1;
  for (int32_t i = 0; i < v.y->rank - 2; ++i) v.batch *= v.y->dims[i];
  v.m = v.y->dims[v.y->rank - 2];
  v.n = v.y->dims[v.y->rank - 1];
  v.k = v.a->dims[v.a->rank - 1];
  v.padded = padded_columns(v.n, v.p->granule);
  v.lda = row_pitch(*v.a);
  v.ldy = row_pitch(*v.y);
  v.ldr = v.residual == nullptr ? 0 : row_pitch(*v.residual);
  return v;
}

// Where the matrix of y's `batch`-th product starts in a view whose last `inner` axes are the matrix: unit axes broadcast.
inline int64_t batch_offset(const Matmul& v, const tc_view& view, int32_t inner, int64_t batch) {
  int64_t offset = 0;
  for (int32_t i = v.y->rank - 3; i >= 0; --i) {
    const int64_t index = batch % v.y->dims[i];
    batch /= v.y->dims[i];
    const int32_t axis = i - (v.y->rank - 2) + (view.rank - inner);  // batch axes are aligned at their ends
    if (axis >= 0 && view.dims[axis] != 1) offset += index * view.strides[axis];
  }
  return offset;
}

// Scratch of one thread: one panel of a computed b.
inline Checked matmul_scratch_bytes(const tc_matmul_params* p, int64_t k) {
  return p->packed != 0 ? Checked(0) : Checked(k) * p->panel * (int64_t)sizeof(E);
}

}  // namespace

#endif
