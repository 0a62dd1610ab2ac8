// Every chunk of every job is done once, and what it wrote is seen afterwards.
#include "pool.h"

#include <unistd.h>

#include <vector>

#include "check.h"

using tiercast::Pool;

namespace {

struct Counts {
  std::vector<int64_t> of_chunk;
  std::vector<int64_t> of_thread;
};

// Plain memory: a race here is the pool's fault.
void count(void* argument, int32_t thread, int32_t chunk) {
  auto& counts = *static_cast<Counts*>(argument);
  ++counts.of_chunk[static_cast<size_t>(chunk)];
  ++counts.of_thread[static_cast<size_t>(thread)];
}

void test_jobs(int32_t threads, int jobs) {
  Pool pool;
  CHECK(pool.start(threads));
  CHECK(pool.threads() == threads);
  for (int i = 0; i < jobs && failures() == 0; ++i) {
    const int32_t chunks = 1 + i % (4 * threads);
    Counts counts = {std::vector<int64_t>(static_cast<size_t>(chunks)), std::vector<int64_t>(static_cast<size_t>(threads))};
    pool.run(count, &counts, chunks);
    int64_t total = 0;
    for (int64_t seen : counts.of_chunk) CHECK(seen == 1);
    for (int64_t seen : counts.of_thread) total += seen;
    CHECK(total == chunks);
    if (i % 500 == 0) usleep(2000);  // lets the workers fall asleep
  }
}

// Chunks that take a while are shared: no thread stands by. Sleeping, so that one core is enough to show it.
void sleep_and_count(void* argument, int32_t thread, int32_t chunk) {
  usleep(20000);
  count(argument, thread, chunk);
}

void test_sharing() {
  Pool pool;
  CHECK(pool.start(4));
  Counts counts = {std::vector<int64_t>(16), std::vector<int64_t>(4)};
  pool.run(sleep_and_count, &counts, 16);
  for (int64_t taken : counts.of_thread) CHECK(taken >= 1);
}

void test_restart() {
  Pool pool;
  Counts counts = {std::vector<int64_t>(4), std::vector<int64_t>(4)};
  for (int round = 0; round < 20; ++round) {
    Pool fresh;
    CHECK(fresh.start(4));
    if (round % 2 == 0) fresh.run(count, &counts, 4);
  }
  CHECK(counts.of_chunk[3] == 10);
  CHECK(pool.start(1) && pool.threads() == 1);
}

}  // namespace

int main() {
  for (int32_t threads : {1, 2, 3, 8}) test_jobs(threads, 2000);
  test_jobs(TC_MAX_THREADS, 50);
  test_sharing();
  test_restart();
  return test_result();
}
