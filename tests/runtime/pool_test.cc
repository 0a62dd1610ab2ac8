// Every thread takes part in every job, and what it wrote is seen afterwards.
#include "pool.h"

#include <unistd.h>

#include <vector>

#include "check.h"

using tiercast::Pool;

namespace {

struct Counts {
  std::vector<int64_t> of_thread;
};

void count(void* argument, int32_t thread) { ++static_cast<Counts*>(argument)->of_thread[static_cast<size_t>(thread)]; }

void test_jobs(int32_t threads, int jobs) {
  Pool pool;
  CHECK(pool.start(threads));
  CHECK(pool.threads() == threads);
  Counts counts = {std::vector<int64_t>(static_cast<size_t>(threads))};
  for (int i = 0; i < jobs; ++i) {
    pool.run(count, &counts);
    for (int64_t seen : counts.of_thread) CHECK(seen == i + 1);  // plain memory: a race here is the pool's fault
    if (i % 500 == 0) usleep(2000);                              // lets the workers fall asleep
    if (failures() != 0) return;
  }
}

void test_restart() {
  Pool pool;
  Counts counts = {std::vector<int64_t>(4)};
  for (int round = 0; round < 20; ++round) {
    Pool fresh;
    CHECK(fresh.start(4));
    if (round % 2 == 0) fresh.run(count, &counts);
  }
  CHECK(counts.of_thread[3] == 10);
  CHECK(pool.start(1) && pool.threads() == 1);
}

}  // namespace

int main() {
  for (int32_t threads : {1, 2, 3, 8}) test_jobs(threads, 2000);
  test_jobs(TC_MAX_THREADS, 50);
  test_restart();
  return test_result();
}
