// Extents of normalisation by rows, shared by check and rows.
#ifndef TIERCAST_ROW_NORM_ROW_NORM_H_
#define TIERCAST_ROW_NORM_ROW_NORM_H_

#include "row_norm_params.h"
#include "views/rules.h"

namespace {

// Rows of one work item.
inline int64_t row_block(int64_t length) { return larger(1, 4096 / length); }

}  // namespace

#endif
