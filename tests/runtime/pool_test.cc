// Every grain of every job is done once, and what it wrote is seen afterwards.
#include "pool.h"

#include <unistd.h>

#include <vector>

#include "check.h"

using tiercast::Pool;

namespace {

struct Counts {
  std::vector<int64_t> of_grain;
  std::vector<int64_t> of_thread;
};

// Plain memory: a race here is the pool's fault.
void count(void* argument, int32_t thread, int32_t begin, int32_t end) {
  auto& counts = *static_cast<Counts*>(argument);
  for (int32_t grain = begin; grain < end; ++grain) ++counts.of_grain[static_cast<size_t>(grain)];
  counts.of_thread[static_cast<size_t>(thread)] += end - begin;
}

void test_jobs(int32_t threads, int jobs) {
  Pool pool;
  CHECK(pool.start(threads, 2, nullptr));
  CHECK(pool.threads() == threads);
  for (int i = 0; i < jobs && failures() == 0; ++i) {
    const int32_t grains = 1 + i % (4 * threads);
    Counts counts = {std::vector<int64_t>(static_cast<size_t>(grains)), std::vector<int64_t>(static_cast<size_t>(threads))};
    pool.run(count, &counts, grains);
    int64_t total = 0;
    for (int64_t seen : counts.of_grain) CHECK(seen == 1);
    for (int64_t seen : counts.of_thread) total += seen;
    CHECK(total == grains);
    if (i % 500 == 0) usleep(2000);  // lets the workers fall asleep
  }
}

// Grains that take a while are shared: no thread stands by. Sleeping, so that one core is enough to show it.
void sleep_and_count(void* argument, int32_t thread, int32_t begin, int32_t end) {
  usleep(static_cast<useconds_t>(20000 * (end - begin)));
  count(argument, thread, begin, end);
}

void test_sharing() {
  Pool pool;
  CHECK(pool.start(4, 2, nullptr));
  Counts counts = {std::vector<int64_t>(16), std::vector<int64_t>(4)};
  pool.run(sleep_and_count, &counts, 16);
  for (int64_t taken : counts.of_thread) CHECK(taken >= 1);
}

// A thread that is stuck in its first piece does not keep the rest of its share from the others.
void wait_for_others(void* argument, int32_t, int32_t begin, int32_t end) {
  auto& done = *static_cast<std::atomic<int32_t>*>(argument);
  const int32_t others = 12;  // the other share, and the half of this one that its owner has not taken
  for (int32_t wait = 0; begin == 0 && done < others && wait < 10000; ++wait) usleep(1000);
  CHECK(begin != 0 || (end == 4 && done == others));
  done += end - begin;
}

void test_stealing() {
  Pool pool;
  CHECK(pool.start(2, 2, nullptr));
  std::atomic<int32_t> done{0};
  pool.run(wait_for_others, &done, 16);
  CHECK(done == 16);
}

void test_restart() {
  Pool pool;
  Counts counts = {std::vector<int64_t>(4), std::vector<int64_t>(4)};
  for (int round = 0; round < 20; ++round) {
    Pool fresh;
    CHECK(fresh.start(4, 2, nullptr));
    if (round % 2 == 0) fresh.run(count, &counts, 4);
  }
  CHECK(counts.of_grain[3] == 10);
  CHECK(pool.start(1, 2, nullptr) && pool.threads() == 1);
}

}  // namespace

int main() {
  for (int32_t threads : {1, 2, 3, 8}) test_jobs(threads, 2000);
  test_jobs(TC_MAX_THREADS, 50);
  test_sharing();
  test_stealing();
  test_restart();
  return test_result();
}
