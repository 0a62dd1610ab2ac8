// From sums of integer products to s8: a float32 scale, halves to even. The same on every CPU, so all rows of an op agree to the bit.
#ifndef TIERCAST_SIMD_REQUANTIZE_H_
#define TIERCAST_SIMD_REQUANTIZE_H_

#include <math.h>
#include <stdint.h>

#include "tiercast/kernel.h"

namespace {

// What a quantized result may be: s8, around a zero point.
struct Limits {
  int32_t zero, low, high;
};

inline bool valid_limits(int32_t zero, int32_t low, int32_t high) {
  return zero >= -128 && zero <= 127 && low >= -128 && low <= high && high <= 127;
}

// The nearest integer to x + zero within [low, high]; low for NaN. The bounds are compared before rounding: they are integers.
inline int32_t rounded(float x, const Limits& to) {
  const float low = (float)(to.low - to.zero), high = (float)(to.high - to.zero);
  const float kept = !(x > low) ? low : x > high ? high : x;
  return (int32_t)rintf(kept) + to.zero;
}

inline int32_t requantized(int32_t sum, float scale, const Limits& to) { return rounded((float)sum * scale, to); }

// Sums wrap: what a package asks for may overflow, and is then wrong but defined.
inline int32_t wrapping_sum(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
inline int32_t wrapping_product(int32_t a, int32_t b) { return (int32_t)((uint32_t)a * (uint32_t)b); }

// Stores one sum of a convolution as what y holds: s8, f32 (scaled) or s32 (the sum).
inline void store_sum(const tc_view& y, int64_t at, int32_t sum, float scale, const Limits& to) {
  if (y.dtype == TC_S8) {
    ((int8_t*)y.data)[at] = (int8_t)requantized(sum, scale, to);
  } else if (y.dtype == TC_F32) {
    ((float*)y.data)[at] = (float)sum * scale;
  } else {
    ((int32_t*)y.data)[at] = sum;
  }
}

}  // namespace

#endif
