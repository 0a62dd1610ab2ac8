// What the check functions of the data-moving and elementwise ops share: params access, element sizes, the rule macro.
#ifndef TIERCAST_VIEWS_RULES_H_
#define TIERCAST_VIEWS_RULES_H_

#include "simd/checked.h"

// In a check function: leaves with `text` unless `fine` holds.
#define TC_RULE(fine, text)     \
  do {                          \
    if (!(fine)) return (text); \
  } while (0)

namespace {

// More elements than any operand of a phone model has; keeps every product of two counts inside int64.
constexpr int64_t kElementLimit = int64_t{1} << 31;

// The op's params struct, or NULL when the call carries another size.
template <class Params>
inline const Params* params_of(const tc_call* call) {
  return call->params != nullptr && call->params_bytes == static_cast<int64_t>(sizeof(Params)) ? static_cast<const Params*>(call->params)
                                                                                               : nullptr;
}

// A sane operand: known dtype, rank in [0, TC_MAX_RANK], non-negative strides, at most kElementLimit elements.
inline bool sane(const tc_view& v) {
  if (v.dtype < 0 || v.dtype >= TC_DTYPE_COUNT || v.rank < 0 || v.rank > TC_MAX_RANK) return false;
  for (int32_t i = 0; i < v.rank; ++i) {
    if (v.dims[i] < 1 || (v.dims[i] != 1 && (v.strides[i] < 0 || v.strides[i] > kElementLimit))) return false;
  }
  return within(element_count(v), kElementLimit);
}

// Every operand the call has is sane, and there are as many as the op takes.
inline bool sane_call(const tc_call* call, int32_t least_inputs, int32_t most_inputs, int32_t outputs) {
  if (call->input_count < least_inputs || call->input_count > most_inputs || call->output_count != outputs) return false;
  for (int32_t i = 0; i < call->input_count; ++i) {
    if (!sane(call->inputs[i]) || (i < least_inputs && !present(call->inputs[i]))) return false;
  }
  for (int32_t i = 0; i < call->output_count; ++i) {
    if (!sane(call->outputs[i]) || !present(call->outputs[i])) return false;
  }
  return true;
}

// Whether optional operand `index` was given.
inline bool given(const tc_call* call, int32_t index) { return index < call->input_count && present(call->inputs[index]); }

inline int64_t element_bytes(int32_t dtype) {
  switch (dtype) {
    case TC_F32:
    case TC_S32:
      return 4;
    case TC_U32:
      return 4;
    case TC_S64:
    case TC_U64:
    case TC_F64:
      return 8;
    case TC_F16:
    case TC_BF16:
    case TC_S16:
    case TC_U16:
      return 2;
    default:
      return 1;
  }
}

// Elements of a view that passed `sane`.
inline int64_t count_of(const tc_view& v) {
  int64_t n = 1;
  for (int32_t i = 0; i < v.rank; ++i) n *= v.dims[i];
  return n;
}

// Product of dims [from, to) of a view that passed `sane`.
inline int64_t span(const tc_view& v, int32_t from, int32_t to) {
  int64_t n = 1;
  for (int32_t i = from; i < to; ++i) n *= v.dims[i];
  return n;
}

// Element offset of row-major position `index` in a view.
inline int64_t offset_of(const tc_view& v, int64_t index) {
  int64_t offset = 0;
  for (int32_t i = v.rank - 1; i >= 0; --i) {
    offset += index % v.dims[i] * v.strides[i];
    index /= v.dims[i];
  }
  return offset;
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

}  // namespace

#endif
