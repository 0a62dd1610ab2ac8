// topk sees its operand as [outer][axis][inner]; shared by check and run.
#ifndef TIERCAST_TOPK_TOPK_H_
#define TIERCAST_TOPK_TOPK_H_

#include "topk_params.h"
#include "views/rules.h"

namespace {

// The best k so far: values in 8 bytes each, positions in 4.
inline int64_t scratch_need(int64_t k) { return k * 12; }

}  // namespace

#endif
