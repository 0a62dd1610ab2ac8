// Scratch of top-k: the indices of one line.
#ifndef TIERCAST_TOPK_TOPK_H_
#define TIERCAST_TOPK_TOPK_H_

#include "topk_params.h"
#include "views/rules.h"

namespace {

inline int64_t topk_scratch_bytes(int64_t k) { return k * static_cast<int64_t>(sizeof(int64_t)); }

}  // namespace

#endif
