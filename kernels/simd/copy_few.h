// Copies of a few bytes without a call: two that overlap, of the largest power of two within n.
#ifndef TIERCAST_SIMD_COPY_FEW_H_
#define TIERCAST_SIMD_COPY_FEW_H_

#include <stdint.h>
#include <string.h>

#include "simd/kernel_row.h"

namespace {

template <int BYTES>
TC_INLINE void copy_ends(uint8_t* to, const uint8_t* from, int64_t n) {
  uint8_t first[BYTES], last[BYTES];
  memcpy(first, from, BYTES);
  memcpy(last, from + n - BYTES, BYTES);
  memcpy(to, first, BYTES);
  memcpy(to + n - BYTES, last, BYTES);
}

// n in 1..64
TC_INLINE void copy_few(uint8_t* to, const uint8_t* from, int64_t n) {
  if (n >= 32) {
    copy_ends<32>(to, from, n);
  } else if (n >= 16) {
    copy_ends<16>(to, from, n);
  } else if (n >= 8) {
    copy_ends<8>(to, from, n);
  } else if (n >= 4) {
    copy_ends<4>(to, from, n);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  }
}

}  // namespace

#endif
