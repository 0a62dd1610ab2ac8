// A run neither allocates nor locks nor opens nor maps anything: the linker sends the runtime's calls of such functions to the counters
// here.
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <atomic>
#include <vector>

#include "check.h"
#include "package_file.h"
#include "test_kernels.h"
#include "tiercast/tiercast.hpp"

using tiercast_test::AlignedBytes;
using tiercast_test::make_file;
using tiercast_test::sample_model;

namespace {
std::atomic<int64_t> calls{0};
}

// As `-Wl,--wrap=` wants it: __wrap_f stands for f, __real_f is f.
#define COUNTED(result, name, parameters, arguments) \
  extern "C" result __real_##name parameters;        \
  extern "C" result __wrap_##name parameters {       \
    ++calls;                                         \
    return __real_##name arguments;                  \
  }
COUNTED(void*, malloc, (size_t bytes), (bytes))
COUNTED(void*, calloc, (size_t count, size_t bytes), (count, bytes))
COUNTED(void*, realloc, (void* memory, size_t bytes), (memory, bytes))
COUNTED(void, free, (void* memory), (memory))
COUNTED(int, pthread_create, (pthread_t * thread, const pthread_attr_t* attributes, void* (*enter)(void*), void* argument),
        (thread, attributes, enter, argument))
COUNTED(int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))
COUNTED(int, pthread_cond_wait, (pthread_cond_t * condition, pthread_mutex_t* mutex), (condition, mutex))
COUNTED(int, sched_setaffinity, (pid_t thread, size_t bytes, const cpu_set_t* set), (thread, bytes, set))
COUNTED(void*, mmap, (void* at, size_t bytes, int protection, int flags, int file, off_t offset),
        (at, bytes, protection, flags, file, offset))
COUNTED(int, munmap, (void* at, size_t bytes), (at, bytes))
COUNTED(int, madvise, (void* at, size_t bytes, int advice), (at, bytes, advice))

namespace {

void test_runs_are_quiet(int32_t threads) {
  const int64_t pixels = 20000;  // more than every threshold of sharing
  const auto model = sample_model(pixels);
  const AlignedBytes file(make_file(model.plan, model.weights));
  tc_options options = tc_options_default();
  options.threads = threads;
  tiercast::Session session;
  tiercast::Error error;
  const int64_t before = calls;
  CHECK(session.open(file.bytes.get(), file.size, tiercast_test::test_library(), options, &error) == TC_OK);
  CHECK(calls > before);  // the counters count
  std::vector<float> x(pixels * 2, 1.0f), x3(pixels * 3, 1.0f), y(pixels * 5);
  const tc_buffer inputs[] = {{x.data(), x.size() * sizeof(float)}, {x3.data(), x3.size() * sizeof(float)}};
  const tc_buffer output = {y.data(), y.size() * sizeof(float)};
  const int64_t opened = calls;
  for (int run = 0; run < 20; ++run) CHECK(tc_session_run(session.get(), inputs, 2, &output, 1, &error) == TC_OK);
  CHECK(calls == opened);
}

void test_selecting_is_quiet() {
  const AlignedBytes file(tiercast_test::sample_buckets({6, 20, 12}));
  const tc_options options = tc_options_default();
  tiercast::Session session;
  tiercast::Error error;
  CHECK(session.open(file.bytes.get(), file.size, tiercast_test::test_library(), options, &error) == TC_OK);
  std::vector<float> x(40, 1.0f), x3(60, 1.0f), y(100);
  const int64_t opened = calls;
  for (const int64_t pixels : {12, 6, 20}) {
    const tc_shape shapes[] = {{2, {pixels, 2}}, {2, {pixels, 3}}};
    CHECK(session.resize(shapes, 2, &error) == TC_OK);
    const auto count = static_cast<uint64_t>(pixels);
    const tc_buffer inputs[] = {{x.data(), count * 8}, {x3.data(), count * 12}}, output = {y.data(), count * 20};
    CHECK(session.run(inputs, 2, &output, 1, &error) == TC_OK);
    CHECK(session.select(0, &error) == TC_OK);
  }
  CHECK(calls == opened);
}

}  // namespace

int main() {
  for (int32_t threads : {1, 2, 4}) test_runs_are_quiet(threads);
  test_selecting_is_quiet();
  return test_result();
}
