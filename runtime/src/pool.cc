#include "pool.h"

#include <signal.h>

#include "futex.h"

namespace tiercast {
namespace {

constexpr int32_t kSpins = 4000;         // about 20 to 100 microseconds, more than the gap between two steps
constexpr int32_t kSeriesSpins = 40000;  // longer than most steps that one thread does alone

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

uint64_t range(int32_t begin, int32_t end) {
  return static_cast<uint64_t>(static_cast<uint32_t>(end)) << 32 | static_cast<uint32_t>(begin);
}

}  // namespace

bool Pool::start(int32_t threads, int32_t cores, const cpu_set_t* pin_to) {
  pinned_ = pin_to != nullptr;
  if (pinned_) cores_ = *pin_to;
  spins_ = threads <= cores ? kSpins : 0;  // spinning on a core that another thread needs only delays it
  // Workers must not run the application's signal handlers.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  int32_t count = 1;
  for (; count < threads && started; count += started ? 1 : 0) {
    workers_[count] = {this, count, {}};
    started = pthread_create(&workers_[count].handle, nullptr, enter, &workers_[count]) == 0;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  threads_ = count;
  if (!started) stop();
  return started;
}

void Pool::stop() {
  if (threads_ == 1) return;
  stopping_.store(true, std::memory_order_relaxed);
  job_.fetch_add(1);
  futex_wake_all(&job_);
  for (int32_t thread = 1; thread < threads_; ++thread) pthread_join(workers_[thread].handle, nullptr);
  threads_ = 1;
}

void Pool::run(Body body, void* argument, int32_t grains) {
  if (threads_ == 1) return body(argument, 0, 0, grains);
  body_ = body;
  argument_ = argument;
  unfinished_.store(static_cast<uint32_t>(grains), std::memory_order_relaxed);
  const int32_t each = grains / threads_, more = grains % threads_;
  for (int32_t thread = 0, begin = 0; thread < threads_; ++thread) {
    const int32_t end = begin + each + (thread < more ? 1 : 0);
    shares_[thread].left.store(range(begin, end), std::memory_order_release);
    begin = end;
  }
  job_.fetch_add(1);  // sequentially consistent, as `sleepers_` is: a worker sees the new number or we see it asleep
  if (sleepers_.load() > 0) futex_wake_all(&job_);
  work(0);
  wait_until_done();
}

// Takes half of what is left of a share: the owner from the beginning, others from the end. False when nothing is.
bool Pool::take(Share* share, bool own, int32_t* begin, int32_t* end) {
  uint64_t left = share->left.load(std::memory_order_relaxed);
  for (;;) {
    const auto first = static_cast<int32_t>(left & UINT32_MAX), last = static_cast<int32_t>(left >> 32);
    if (first >= last) return false;
    const int32_t half = (last - first + 1) / 2;
    *begin = own ? first : last - half;
    *end = own ? first + half : last;
    const uint64_t rest = own ? range(*end, last) : range(first, *begin);
    if (share->left.compare_exchange_weak(left, rest, std::memory_order_acquire, std::memory_order_relaxed)) return true;
  }
}

void Pool::work(int32_t thread) {
  uint32_t done = 0;
  for (int32_t i = 0, owner = thread; i < threads_; ++i, owner = owner + 1 == threads_ ? 0 : owner + 1) {
    for (int32_t begin, end; take(&shares_[owner], owner == thread, &begin, &end);) {
      body_(argument_, thread, begin, end);
      done += static_cast<uint32_t>(end - begin);
    }
  }
  if (done != 0 && unfinished_.fetch_sub(done) == done && thread != 0 && caller_sleeps_.load() != 0) futex_wake_all(&unfinished_);
}

void Pool::wait_until_done() {
  for (int32_t spin = 0; spin <= spins_; ++spin) {
    if (unfinished_.load(std::memory_order_acquire) == 0) return;
    pause_cpu();
  }
  caller_sleeps_.store(1);
  for (uint32_t left; (left = unfinished_.load()) != 0;) futex_wait(&unfinished_, left);
  caller_sleeps_.store(0, std::memory_order_relaxed);
}

void* Pool::enter(void* worker) {
  const auto* self = static_cast<const Worker*>(worker);
  Pool* pool = self->pool;
  if (pool->pinned_)
    sched_setaffinity(0, sizeof(pool->cores_), &pool->cores_);  // a refusal, of cores that went offline say, costs speed only
  for (uint32_t seen = 0;;) {
    seen = pool->wait_for_job(seen);
    if (pool->stopping_.load(std::memory_order_relaxed)) return nullptr;
    pool->work(self->thread);
  }
}

// The number of the current job, once it is another than `seen`.
uint32_t Pool::wait_for_job(uint32_t seen) {
  for (int32_t spin = 0; spin < spins_ || (spins_ > 0 && spin < kSeriesSpins && in_series_.load(std::memory_order_relaxed)); ++spin) {
    const uint32_t job = job_.load(std::memory_order_acquire);
    if (job != seen) return job;
    pause_cpu();
  }
  sleepers_.fetch_add(1);
  uint32_t job;
  while ((job = job_.load()) == seen) futex_wait(&job_, seen);
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
  return job;
}

}  // namespace tiercast
