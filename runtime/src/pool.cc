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
  stopping_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  pthread_cond_broadcast(&job_);
  pthread_mutex_unlock(&mutex_);
  for (int32_t thread = 1; thread < threads_; ++thread) pthread_join(workers_[thread].handle, nullptr);
  threads_ = 1;
}

void Pool::run(Body body, void* argument) {
  if (threads_ > 1) {
    body_ = body;
    argument_ = argument;
    pending_.store(threads_ - 1, std::memory_order_relaxed);
    pthread_mutex_lock(&mutex_);
    generation_.fetch_add(1, std::memory_order_release);
    if (sleeping_ > 0) pthread_cond_broadcast(&job_);
    pthread_mutex_unlock(&mutex_);
  }
  body(argument, 0);
  if (threads_ > 1) wait_for_workers();
}

void Pool::wait_for_workers() {
  for (int32_t spin = 0; spin < spins_; ++spin) {
    if (pending_.load(std::memory_order_acquire) == 0) return;
    pause_cpu();
  }
  pthread_mutex_lock(&mutex_);
  caller_sleeps_ = true;
  while (pending_.load(std::memory_order_acquire) != 0) pthread_cond_wait(&done_, &mutex_);
  caller_sleeps_ = false;
  pthread_mutex_unlock(&mutex_);
}

void* Pool::enter(void* worker) {
  const auto* self = static_cast<const Worker*>(worker);
  self->pool->work(self->thread);
  return nullptr;
}

void Pool::work(int32_t thread) {
  for (uint32_t seen = 0;; ++seen) {  // a worker takes part in every job, so it counts along
    wait_for_job(seen);
    if (stopping_) return;
    body_(argument_, thread);
    if (pending_.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
    pthread_mutex_lock(&mutex_);
    if (caller_sleeps_) pthread_cond_signal(&done_);
    pthread_mutex_unlock(&mutex_);
  }
}

void Pool::wait_for_job(uint32_t seen) {
  for (int32_t spin = 0; spin < spins_; ++spin) {
    if (generation_.load(std::memory_order_acquire) != seen) return;
    pause_cpu();
  }
  pthread_mutex_lock(&mutex_);
  ++sleeping_;
  while (generation_.load(std::memory_order_acquire) == seen) pthread_cond_wait(&job_, &mutex_);
  --sleeping_;
  pthread_mutex_unlock(&mutex_);
}

}  // namespace tiercast
