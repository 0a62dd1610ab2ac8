// For measuring kernels: one step again and again.
#ifndef TIERCAST_SRC_REPEAT_H_
#define TIERCAST_SRC_REPEAT_H_

#include "tiercast/tiercast.h"

namespace tiercast {

// Runs step `index` of a session `times` times on the buffers of its last tc_session_run, which must still be there.
void repeat_step(tc_session* session, int64_t index, int64_t times);

}  // namespace tiercast
#endif
