// requantize.h on NEON vectors: sums of four to s8.
#ifndef TIERCAST_SIMD_REQUANTIZE_NEON_H_
#define TIERCAST_SIMD_REQUANTIZE_NEON_H_

#include <arm_neon.h>

#include "simd/kernel_row.h"
#include "simd/requantize.h"

namespace {

// What results of a call have in common.
struct Narrowing {
  int16x8_t zero;
};

TC_INLINE Narrowing narrowing_of(const Limits& to) { return {vdupq_n_s16((int16_t)to.zero)}; }

// The nearest integers, halves to even; what s32 does not hold ends at its bounds.
TC_INLINE int32x4_t nearest(float32x4_t x) {
#if defined(__aarch64__)
  return vcvtnq_s32_f32(x);
#else
  // Beyond 2^22 reals of s8 are far out of reach: bring them there, then add what leaves no bits for fractions.
  const float32x4_t magic = vdupq_n_f32(12582912.0f), kept = vminq_f32(vmaxq_f32(x, vdupq_n_f32(-4194304.0f)), vdupq_n_f32(4194304.0f));
  return vsubq_s32(vreinterpretq_s32_f32(vaddq_f32(kept, magic)), vreinterpretq_s32_f32(magic));
#endif
}

TC_INLINE int32x4_t scaled_four(int32x4_t sums, float32x4_t scale) { return nearest(vmulq_f32(vcvtq_f32_s32(sums), scale)); }

// Eight whole numbers around the zero point, within s16.
TC_INLINE int16x8_t halved(int32x4_t first, int32x4_t second, const Narrowing& to) {
#if defined(__aarch64__)
  return vqaddq_s16(vqmovn_high_s32(vqmovn_s32(first), second), to.zero);
#else
  return vqaddq_s16(vcombine_s16(vqmovn_s32(first), vqmovn_s32(second)), to.zero);
#endif
}

// s8 of sixteen such; limits other than s8's own are the caller's (`within_limits`).
TC_INLINE int8x16_t narrowed(int16x8_t first, int16x8_t second) {
#if defined(__aarch64__)
  const int8x16_t bytes = vqmovn_high_s16(vqmovn_s16(first), second);
#else
  const int8x16_t bytes = vcombine_s8(vqmovn_s16(first), vqmovn_s16(second));
#endif
  return bytes;
}

// Most results are limited by s8 alone: those of others are brought within their limits once they are stored.
TC_INLINE bool limited(const Limits& to) { return to.low > -128 || to.high < 127; }

// `rows` times n bytes, `pitch` apart.
TC_NOINLINE void limit_rows(int8_t* y, int64_t pitch, int64_t rows, int64_t n, const Limits& to) {
  const int8x8_t least = vdup_n_s8((int8_t)to.low), most = vdup_n_s8((int8_t)to.high);
  for (int64_t row = 0; row < rows; ++row, y += pitch) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) vst1_s8(y + i, vmin_s8(vmax_s8(vld1_s8(y + i), least), most));
    for (; i < n; ++i) y[i] = (int8_t)(y[i] < to.low ? to.low : y[i] > to.high ? to.high : y[i]);
  }
}

}  // namespace

#endif
