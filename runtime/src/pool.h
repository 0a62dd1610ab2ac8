// Threads that share one job at a time.
#ifndef TIERCAST_SRC_POOL_H_
#define TIERCAST_SRC_POOL_H_

#include <pthread.h>
#include <stdint.h>

#include <atomic>

#include "tiercast/tiercast.h"

namespace tiercast {

// Runs `body(argument, thread)` for thread 0 (the caller) .. threads-1 at once. Workers spin for a moment after a job, because the next
// step follows at once, then sleep. Allocates nothing after start. Used by one caller at a time.
class Pool {
 public:
  using Body = void (*)(void* argument, int32_t thread);

  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { stop(); }

  // Starts threads-1 workers (none for 1). False when the system refuses one; then none is left running.
  bool start(int32_t threads);
  void stop();

  // Returns when every thread has come back from `body`, and what they wrote is visible to the caller.
  void run(Body body, void* argument);

  int32_t threads() const { return threads_; }

 private:
  struct Worker {
    Pool* pool;
    int32_t thread;
    pthread_t handle;
  };

  static void* enter(void* worker);
  void work(int32_t thread);
  void wait_for_job(uint32_t seen);
  void wait_for_workers();

  int32_t threads_ = 1;
  int32_t spins_ = 0;
  Body body_ = nullptr;
  void* argument_ = nullptr;
  std::atomic<uint32_t> generation_{0};  // counts jobs; a change is the signal to start
  std::atomic<int32_t> pending_{0};      // workers that are not back yet
  bool stopping_ = false;                // written before the generation changes
  int32_t sleeping_ = 0;                 // under mutex_
  bool caller_sleeps_ = false;           // under mutex_
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t job_ = PTHREAD_COND_INITIALIZER;
  pthread_cond_t done_ = PTHREAD_COND_INITIALIZER;
  Worker workers_[TC_MAX_THREADS];
};

}  // namespace tiercast
#endif
