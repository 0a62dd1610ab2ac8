// Rows of bytes whose dot products take them signed, as they are.
#ifndef TIERCAST_SIMD_DOT_BYTES_H_
#define TIERCAST_SIMD_DOT_BYTES_H_

#include <string.h>

#include "simd/kernel_row.h"

namespace {

enum { DOT_FLIP = 0 };

TC_INLINE void flip_bytes(uint8_t* to, const int8_t* from, int64_t n) { memcpy(to, from, (size_t)n); }
TC_INLINE void fill_bytes(uint8_t* to, int64_t n, uint8_t value) { memset(to, value, (size_t)n); }

}  // namespace

#endif
