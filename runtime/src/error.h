// How every refusal in the runtime is worded and returned.
#ifndef TIERCAST_SRC_ERROR_H_
#define TIERCAST_SRC_ERROR_H_

#include "tiercast/tiercast.h"

namespace tiercast {

// Fills *error (may be NULL) with `status` and the printf-formatted text, cut to fit; returns `status`.
tc_status fail(tc_error* error, tc_status status, const char* format, ...) __attribute__((format(printf, 3, 4)));

}  // namespace tiercast
#endif
