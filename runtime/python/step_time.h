// How long one step takes when nothing comes between its runs: operands that fit into a cache are there.
#pragma once

#include "tiercast/tiercast.h"

namespace tiercast {

struct StepTime {
  double min_us, median_us;  // of one run, over batches of runs
};

// Times step `index` for about `seconds` of this thread's CPU time, on the buffers of the session's last run.
StepTime time_step(tc_session* session, int64_t index, double seconds);

}  // namespace tiercast
