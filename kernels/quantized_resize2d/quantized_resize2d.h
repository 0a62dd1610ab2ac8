// Operands and scratch of quantized_resize2d, shared by check and rows.
#ifndef TIERCAST_QUANTIZED_RESIZE2D_H_
#define TIERCAST_QUANTIZED_RESIZE2D_H_

#include "quantized_resize2d_params.h"
#include "simd/requantize.h"
#include "views/rules.h"

namespace {

enum { QRS_IMAGE, QRS_ROW_INDEX, QRS_ROW_WEIGHT, QRS_COL_INDEX, QRS_COL_WEIGHT, QRS_OPERANDS };
enum { QRS_ONE = 2048 };  // weights are whole 2048ths, two of them make one

// A line of two blended rows.
inline Checked qresize_scratch_bytes(const tc_view& x) { return Checked(x.dims[2]) * x.dims[3] * 4; }

}  // namespace

#endif
