// What check and run of the suppression share.
#ifndef TIERCAST_NON_MAX_SUPPRESSION_NON_MAX_SUPPRESSION_H_
#define TIERCAST_NON_MAX_SUPPRESSION_NON_MAX_SUPPRESSION_H_

#include "non_max_suppression_params.h"
#include "views/rules.h"

namespace {

// Scratch: the numbers of a class's boxes, best first, and of those that stay.
inline int64_t scratch_need(int64_t boxes) { return 2 * boxes * static_cast<int64_t>(sizeof(int32_t)); }

}  // namespace

#endif
