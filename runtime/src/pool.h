// Threads that share one job at a time.
#ifndef TIERCAST_SRC_POOL_H_
#define TIERCAST_SRC_POOL_H_

#include <pthread.h>
#include <stdint.h>

#include <atomic>

#include "tiercast/tiercast.h"

namespace tiercast {

// Runs `body(argument, thread, chunk)` for every chunk of a job once; thread 0 is the caller. Threads take chunks as they come free, so one
// that is slow, or that the system does not schedule at all, delays nobody by more than its chunk. Workers spin for a moment after a job,
// because the next step follows at once, then sleep. Allocates nothing after start. Used by one caller at a time.
class Pool {
 public:
  using Body = void (*)(void* argument, int32_t thread, int32_t chunk);

  Pool() = default;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { stop(); }

  // Starts threads-1 workers (none for 1). False when the system refuses one; then none is left running.
  bool start(int32_t threads);
  void stop();

  // Returns when all of `chunks` (>= 1) are done, and what they wrote is visible to the caller.
  void run(Body body, void* argument, int32_t chunks);

  int32_t threads() const { return threads_; }

 private:
  struct Worker {
    Pool* pool;
    int32_t thread;
    pthread_t handle;
  };

  static void* enter(void* worker);
  bool wait_for_chunks();
  void take_chunks(int32_t thread);
  void wait_until_done();

  int32_t threads_ = 1;
  int32_t spins_ = 0;
  // Written before `untaken_` becomes positive, read only by who has taken a chunk of it: until that is done the job stays.
  Body body_ = nullptr;
  void* argument_ = nullptr;
  std::atomic<int32_t> untaken_{0};     // chunks that nobody has taken yet
  std::atomic<int32_t> unfinished_{0};  // chunks that are not done yet
  std::atomic<bool> stopping_{false};
  int32_t sleeping_ = 0;        // workers; under mutex_
  bool caller_sleeps_ = false;  // under mutex_
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t job_ = PTHREAD_COND_INITIALIZER;
  pthread_cond_t done_ = PTHREAD_COND_INITIALIZER;
  Worker workers_[TC_MAX_THREADS];
};

}  // namespace tiercast
#endif
