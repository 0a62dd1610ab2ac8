// Threads that share one job at a time.
#ifndef TIERCAST_SRC_POOL_H_
#define TIERCAST_SRC_POOL_H_

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include <atomic>

#include "tiercast/tiercast.h"

namespace tiercast {

// Runs a job of numbered grains on all threads; thread 0 is the caller. Every thread has a share of its own, the same part of each job, so
// that what it wrote in one job lies in its cache in the next. It takes its share piece by piece; who has finished takes from the ends of
// the others' shares, so a thread that is slow, or that the system does not schedule at all, delays nobody by more than a piece.
// Counters that different threads write lie in different cache lines. No locks and no allocation; who finds no work spins, and sleeps in
// the kernel when that takes long. Used by one caller at a time.
class Pool {
 public:
  // Does grains [begin, end).
  using Body = void (*)(void* argument, int32_t thread, int32_t begin, int32_t end);

  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { stop(); }

  // Starts threads-1 workers (none for 1) for a machine with `cores` cores for them. pin_to: the only ones they run on, NULL: where the
  // system likes. False when the system refuses a thread; then none is left running.
  bool start(int32_t threads, int32_t cores, const cpu_set_t* pin_to);
  void stop();

  // Returns when all of `grains` (>= 1) are done, and what they wrote is visible to the caller.
  void run(Body body, void* argument, int32_t grains);

  // Between these, jobs follow each other at once and workers wait for them longer before they sleep.
  void begin_series() { in_series_.store(true, std::memory_order_relaxed); }
  void end_series() { in_series_.store(false, std::memory_order_relaxed); }

  int32_t threads() const { return threads_; }

 private:
  static constexpr size_t kLine = 64;

  struct Worker {
    Pool* pool;
    int32_t thread;
    pthread_t handle;
  };

  // Grains of one thread's share that nobody has taken: [low half, high half).
  struct alignas(kLine) Share {
    std::atomic<uint64_t> left{0};
  };

  static void* enter(void* worker);
  static bool take(Share* share, bool own, int32_t* begin, int32_t* end);
  void work(int32_t thread);
  uint32_t wait_for_job(uint32_t seen);
  void wait_until_done();

  int32_t threads_ = 1;
  int32_t spins_ = 0;
  bool pinned_ = false;
  cpu_set_t cores_;
  Worker workers_[TC_MAX_THREADS];

  // Written by the caller alone. Body and argument are read only by who has taken a piece of the job: until that is done the job stays.
  alignas(kLine) std::atomic<uint32_t> job_{0};  // its number; workers sleep on it
  std::atomic<bool> stopping_{false};
  std::atomic<bool> in_series_{false};
  std::atomic<uint32_t> caller_sleeps_{0};
  Body body_ = nullptr;
  void* argument_ = nullptr;

  alignas(kLine) std::atomic<uint32_t> unfinished_{0};  // grains that are not done; the caller sleeps on it
  alignas(kLine) std::atomic<uint32_t> sleepers_{0};    // workers in the kernel
  Share shares_[TC_MAX_THREADS];
};

}  // namespace tiercast
#endif
