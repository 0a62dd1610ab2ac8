// One result of quantized_binary from two s8.
#ifndef TIERCAST_QUANTIZED_BINARY_RESULTS_H_
#define TIERCAST_QUANTIZED_BINARY_RESULTS_H_

#include <math.h>

#include "quantized_binary_params.h"
#include "simd/kernel_row.h"
#include "simd/requantize.h"

namespace {

// Sums in fixed point; sums and shifts are of integers, so halves to even take a bit of arithmetic: `half` is then just below
// half, and an odd result (`even` is 1) makes it a half. Halves go up where `half` is one and `even` is 0.
struct Add {
  int32_t a_factor, b_factor, offset, shift, half, even, zero, low, high;
  TC_INLINE int8_t operator()(int32_t a, int32_t b) const {
    const int32_t sum = wrapping_sum(wrapping_sum(wrapping_product(a, a_factor), wrapping_product(b, b_factor)), offset);
    const int32_t odd = (sum >> shift) & even;
    const int32_t y = (wrapping_sum(sum, half + odd) >> shift) + zero;
    return (int8_t)(y < low ? low : y > high ? high : y);
  }
};

struct Mul {
  int32_t a_zero, b_zero;
  float scale, least, most;
  int32_t zero;
  TC_INLINE int8_t operator()(int32_t a, int32_t b) const {
    const float x = (float)((a - a_zero) * (b - b_zero)) * scale;
    const float above = x > least ? x : least;
    const float kept = above < most ? above : most;
    return (int8_t)((int32_t)rintf(kept) + zero);
  }
};

}  // namespace

#endif
