#include "step_time.h"

#include <time.h>

#include <algorithm>
#include <vector>

#include "repeat.h"

namespace {

constexpr double kBatchSeconds = 2e-4;  // long beside what reading the clock costs

// CPU time: what others do on this machine is not in it.
double now_s() {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double batch_s(tc_session* session, int64_t index, int64_t times) {
  const double begin = now_s();
  tiercast::repeat_step(session, index, times);
  return now_s() - begin;
}

}  // namespace

tiercast::StepTime tiercast::time_step(tc_session* session, int64_t index, double seconds) {
  int64_t times = 1;
  while (batch_s(session, index, times) < kBatchSeconds) times *= 2;
  std::vector<double> batches;
  const double end = now_s() + seconds;
  do batches.push_back(batch_s(session, index, times) / static_cast<double>(times));
  while (now_s() < end);
  std::sort(batches.begin(), batches.end());
  return {batches.front() * 1e6, batches[batches.size() / 2] * 1e6};
}
