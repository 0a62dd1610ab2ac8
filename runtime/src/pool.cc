#include "pool.h"

#include <signal.h>
#include <unistd.h>

namespace tiercast {
namespace {

constexpr int32_t kSpins = 4000;  // about 20 to 100 microseconds, more than the gap between two steps

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

}  // namespace

bool Pool::start(int32_t threads) {
  const long cores = sysconf(_SC_NPROCESSORS_ONLN);
  spins_ = threads <= cores ? kSpins : 0;  // spinning on a core that another thread needs only delays it
  // Workers must not run the application's signal handlers.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  for (int32_t thread = 1; thread < threads && started; ++thread) {
    workers_[thread] = {this, thread, {}};
    started = pthread_create(&workers_[thread].handle, nullptr, enter, &workers_[thread]) == 0;
    if (started) threads_ = thread + 1;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!started) stop();
  return started;
}

void Pool::stop() {
  if (threads_ == 1) return;
  pthread_mutex_lock(&mutex_);
  stopping_.store(true, std::memory_order_relaxed);
  pthread_cond_broadcast(&job_);
  pthread_mutex_unlock(&mutex_);
  for (int32_t thread = 1; thread < threads_; ++thread) pthread_join(workers_[thread].handle, nullptr);
  threads_ = 1;
}

void Pool::run(Body body, void* argument, int32_t chunks) {
  body_ = body;
  argument_ = argument;
  unfinished_.store(chunks, std::memory_order_relaxed);
  if (threads_ > 1 && chunks > 1) {
    pthread_mutex_lock(&mutex_);
    untaken_.store(chunks, std::memory_order_release);
    if (sleeping_ > 0) pthread_cond_broadcast(&job_);
    pthread_mutex_unlock(&mutex_);
  } else {
    untaken_.store(chunks, std::memory_order_release);
  }
  take_chunks(0);
  wait_until_done();
}

void Pool::take_chunks(int32_t thread) {
  int32_t untaken = untaken_.load(std::memory_order_acquire);
  while (untaken > 0) {
    if (!untaken_.compare_exchange_weak(untaken, untaken - 1, std::memory_order_acquire)) continue;
    body_(argument_, thread, untaken - 1);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1 && thread != 0) {
      pthread_mutex_lock(&mutex_);
      if (caller_sleeps_) pthread_cond_signal(&done_);
      pthread_mutex_unlock(&mutex_);
    }
    untaken = untaken_.load(std::memory_order_acquire);
  }
}

void Pool::wait_until_done() {
  for (int32_t spin = 0; spin <= spins_; ++spin) {
    if (unfinished_.load(std::memory_order_acquire) == 0) return;
    pause_cpu();
  }
  pthread_mutex_lock(&mutex_);
  caller_sleeps_ = true;
  while (unfinished_.load(std::memory_order_acquire) != 0) pthread_cond_wait(&done_, &mutex_);
  caller_sleeps_ = false;
  pthread_mutex_unlock(&mutex_);
}

void* Pool::enter(void* worker) {
  const auto* self = static_cast<const Worker*>(worker);
  while (self->pool->wait_for_chunks()) self->pool->take_chunks(self->thread);
  return nullptr;
}

// True when there may be a chunk to take, false when the pool stops.
bool Pool::wait_for_chunks() {
  for (int32_t spin = 0; spin < spins_; ++spin) {
    if (untaken_.load(std::memory_order_relaxed) > 0) return true;
    pause_cpu();
  }
  pthread_mutex_lock(&mutex_);
  ++sleeping_;
  while (untaken_.load(std::memory_order_relaxed) == 0 && !stopping_.load(std::memory_order_relaxed)) pthread_cond_wait(&job_, &mutex_);
  --sleeping_;
  pthread_mutex_unlock(&mutex_);
  return !stopping_.load(std::memory_order_relaxed);
}

}  // namespace tiercast
