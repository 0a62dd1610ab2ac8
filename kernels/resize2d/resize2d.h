// Operands and scratch of resize2d, shared by check and rows.
#ifndef TIERCAST_RESIZE2D_RESIZE2D_H_
#define TIERCAST_RESIZE2D_RESIZE2D_H_

#include "resize2d_params.h"
#include "views/rules.h"

namespace {

enum { kImage, kRowIndex, kRowWeight, kColIndex, kColWeight, kOperands };
constexpr int64_t kMostTaps = 8;
constexpr int64_t kSlack = 16;  // floats past a scratch row that a whole vector may read

inline const int32_t* indices(const tc_call* call, int operand) { return static_cast<const int32_t*>(call->inputs[operand].data); }
inline const float* weights(const tc_call* call, int operand) { return static_cast<const float*>(call->inputs[operand].data); }

// One input row, blended from the rows that an output row needs.
inline int64_t scratch_need(const tc_view& x) { return (x.dims[2] * x.dims[3] + kSlack) * static_cast<int64_t>(sizeof(float)); }

}  // namespace

#endif
