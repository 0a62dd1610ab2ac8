// Dot products of bytes with plain NEON: products to s16, pairs of them added to s32. Both sides signed.
#ifndef TIERCAST_SIMD_DOT_NEON_H_
#define TIERCAST_SIMD_DOT_NEON_H_

#include <arm_neon.h>
#include <string.h>

#include "simd/dot_bytes.h"
#include "simd/kernel_row.h"
#include "simd/requantize.h"

namespace {

// Four columns, each the sum of two lanes.
struct D {
  int32x4_t low, high;
};
enum { DOT_LANES = 4 };

TC_INLINE D d_start(const int32_t* bias, const int32_t*) {
  const int32x4x2_t halves = vzipq_s32(vld1q_s32(bias), vdupq_n_s32(0));
  return {halves.val[0], halves.val[1]};
}

TC_INLINE int32x4_t d_sums(const D& sums) {
#if defined(__aarch64__)
  return vpaddq_s32(sums.low, sums.high);
#else
  return vcombine_s32(vpadd_s32(vget_low_s32(sums.low), vget_high_s32(sums.low)),
                      vpadd_s32(vget_low_s32(sums.high), vget_high_s32(sums.high)));
#endif
}

template <int MR, int NV>
TC_INLINE void dot_multiply(D (&acc)[MR][NV], const uint8_t* a, int64_t pitch, const int8_t* b, int64_t step, int64_t quads) {
  const int8_t* rows = (const int8_t*)a;
  for (; quads > 0; --quads, rows += 4, b += step) {
    int8x8_t row[MR];
#pragma unroll
    for (int i = 0; i < MR; ++i) {
      int32_t quad;
      memcpy(&quad, rows + i * pitch, 4);
      row[i] = vreinterpret_s8_s32(vdup_n_s32(quad));
    }
#pragma unroll
    for (int j = 0; j < NV; ++j) {
      const int8x16_t columns = vld1q_s8(b + j * 16);
#pragma unroll
      for (int i = 0; i < MR; ++i) {
        acc[i][j].low = vpadalq_s16(acc[i][j].low, vmull_s8(vget_low_s8(columns), row[i]));
        acc[i][j].high = vpadalq_s16(acc[i][j].high, vmull_s8(vget_high_s8(columns), row[i]));
      }
    }
  }
}

}  // namespace

#include "simd/dot_store_neon.h"

#endif
