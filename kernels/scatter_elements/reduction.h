// What becomes of an element that an update is scattered to.
#ifndef TIERCAST_SCATTER_ELEMENTS_REDUCTION_H_
#define TIERCAST_SCATTER_ELEMENTS_REDUCTION_H_

#include <string.h>

#include "tc_enums.h"
#include "views/integers.h"
#include "views/rules.h"

namespace {

// Any dtype is replaced; f32 and integers are reduced.
inline bool can_reduce(int32_t dtype, int32_t kind) {
  if (kind < TC_SCATTER_REDUCTION_NONE || kind > TC_SCATTER_REDUCTION_MIN) return false;
  return kind == TC_SCATTER_REDUCTION_NONE || dtype == TC_F32 || is_integer(dtype);
}

// max and min give NaN where either is NaN, as ONNX's do.
inline float reduce_real(float old, float update, int32_t kind) {
  switch (kind) {
    case TC_SCATTER_REDUCTION_ADD:
      return old + update;
    case TC_SCATTER_REDUCTION_MUL:
      return old * update;
    case TC_SCATTER_REDUCTION_MAX:
      return old >= update || old != old ? old : update;
    default:
      return old <= update || old != old ? old : update;
  }
}

// y[to] = y[to] (reduction) updates[from]; views of one dtype that `can_reduce` takes, dense.
inline void reduce_element(const tc_view& y, int64_t to, const tc_view& updates, int64_t from, int32_t kind) {
  if (kind == TC_SCATTER_REDUCTION_NONE) {
    const int64_t bytes = element_bytes(y.dtype);
    memcpy(static_cast<char*>(y.data) + to * bytes, static_cast<const char*>(updates.data) + from * bytes, bytes);
  } else if (y.dtype == TC_F32) {
    float* old = static_cast<float*>(y.data) + to;
    *old = reduce_real(*old, static_cast<const float*>(updates.data)[from], kind);
  } else if (kind == TC_SCATTER_REDUCTION_ADD || kind == TC_SCATTER_REDUCTION_MUL) {
    const int64_t a = load_integer(y, to), b = load_integer(updates, from);
    store_integer(y, to, kind == TC_SCATTER_REDUCTION_ADD ? wrapping_add(a, b) : wrapping_mul(a, b));
  } else {
    const int64_t a = load_ordered(y, to), b = load_ordered(updates, from);
    store_ordered(y, to, (a >= b) == (kind == TC_SCATTER_REDUCTION_MAX) ? a : b);
  }
}

}  // namespace

#endif
