// Sleeping until a word of memory changes, in Linux's kernel.
#ifndef TIERCAST_SRC_FUTEX_H_
#define TIERCAST_SRC_FUTEX_H_

#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace tiercast {

// Sleeps while *word is `value`; may return early for no reason.
inline void futex_wait(std::atomic<uint32_t>* word, uint32_t value) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAIT_PRIVATE, value, nullptr);
}

// Wakes everyone who sleeps on *word.
inline void futex_wake_all(std::atomic<uint32_t>* word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAKE_PRIVATE, INT_MAX);
}

}  // namespace tiercast
#endif
