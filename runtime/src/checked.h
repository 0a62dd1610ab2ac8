// Arithmetic on numbers that a hostile file chose.
#ifndef TIERCAST_SRC_CHECKED_H_
#define TIERCAST_SRC_CHECKED_H_

#include <stdint.h>

namespace tiercast {

// *sum = a + b; false when it does not fit.
inline bool checked_add(uint64_t a, uint64_t b, uint64_t* sum) { return !__builtin_add_overflow(a, b, sum); }
// *product = a * b; false when it does not fit.
inline bool checked_mul(uint64_t a, uint64_t b, uint64_t* product) { return !__builtin_mul_overflow(a, b, product); }

// `value` rounded up to a multiple of `alignment` (a power of two). The caller has bounded `value` below 2^63.
inline uint64_t round_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }

}  // namespace tiercast
#endif
