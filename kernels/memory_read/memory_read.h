// What check and rows of memory_read agree on: y[batch..., E, L] = values[batch..., E, S] * softmax over S of
// (scale * keys[batch..., S, D] * queries[batch..., D, L] + offset_scale * offsets[batch..., S, 1]). With top_k > 0 the softmax is over the
// top_k largest scores of a column, of equal ones those of lower slots, a NaN counting as the greatest; other slots weigh nothing, and
// values are [batch..., S, E], so that those of one slot lie together.
#ifndef TIERCAST_MEMORY_READ_H_
#define TIERCAST_MEMORY_READ_H_

#include "memory_read_params.h"
#include "views/rules.h"

namespace {

enum { MR_KEYS = 0, MR_QUERIES, MR_VALUES, MR_OFFSETS, MR_INPUTS };
enum { SLOTS = 256, COLUMNS = 32 };  // of a block of scores, at most
enum { PACKED_ROWS = 48 };           // of keys or values that are packed at once

struct MemoryRead {
  const tc_memory_read_params* p;
  const tc_view *keys, *queries, *values, *offsets, *y;  // offsets: NULL when absent
  int64_t batch, slots, depth, columns, width, top_k;
};

inline MemoryRead memory_read_of(const tc_call* call) {
  MemoryRead v = {};
  v.p = static_cast<const tc_memory_read_params*>(call->params);
  v.keys = &call->inputs[MR_KEYS];
  v.queries = &call->inputs[MR_QUERIES];
  v.values = &call->inputs[MR_VALUES];
  v.offsets = given(call, MR_OFFSETS) ? &call->inputs[MR_OFFSETS] : nullptr;
  v.y = &call->outputs[0];
  const int32_t rows = v.y->rank - 2;
  v.batch = span(*v.y, 0, rows);
  v.slots = v.keys->dims[rows];
  v.depth = v.keys->dims[rows + 1];
  v.width = v.y->dims[rows];
  v.columns = v.y->dims[rows + 1];
  v.top_k = v.p->top_k;
  return v;
}

inline int64_t row_pitch(const tc_view& v) { return v.strides[v.rank - 2]; }

// The matrix of one product.
inline float* matrix_of(const tc_view& v, int64_t batch) {
  int64_t offset = 0;
  for (int32_t i = v.rank - 3; i >= 0; --i) {
    offset += batch % v.dims[i] * v.strides[i];
    batch /= v.dims[i];
  }
  return static_cast<float*>(v.data) + offset;
}

// Element (d, l) of a product's queries.
inline int64_t query_at(const MemoryRead& v, int64_t d, int64_t l) {
  const int64_t pitch = row_pitch(*v.queries);
  return v.p->trans_queries != 0 ? l * pitch + d : d * pitch + l;
}

// Element (e, s) of a product's values.
inline int64_t value_at(const MemoryRead& v, int64_t e, int64_t s) {
  const int64_t pitch = row_pitch(*v.values);
  return v.top_k > 0 ? s * pitch + e : e * pitch + s;
}

// Scratch of one thread: a panel of queries, a block of scores and of offsets, the columns' maxima, sums and factors, zeros for a bias,
// what is packed, and twice as many scores and slots as a column keeps.
inline Checked memory_read_scratch_bytes(int64_t depth, int64_t top_k) {
  const Checked columns = (Checked(depth) + 2 * SLOTS + 4 + Checked(top_k) * 4) * COLUMNS;
  return (columns + Checked(larger(depth, SLOTS)) * PACKED_ROWS) * static_cast<int64_t>(sizeof(float));
}

}  // namespace

#endif
