// Dot products of bytes with ARMv8.2's SDOT: four columns a vector, both sides signed.
#ifndef TIERCAST_SIMD_DOT_NEONDOT_H_
#define TIERCAST_SIMD_DOT_NEONDOT_H_

#include <arm_neon.h>
#include <string.h>

#include "simd/dot_bytes.h"
#include "simd/kernel_row.h"
#include "simd/requantize.h"

namespace {

typedef int32x4_t D;
enum { DOT_LANES = 4 };

TC_INLINE D d_start(const int32_t* bias, const int32_t*) { return vld1q_s32(bias); }
TC_INLINE int32x4_t d_sums(D sums) { return sums; }

// Four quads: 16 bytes of each row meet four vectors of columns.
template <int MR, int NV>
TC_INLINE void dot_multiply(D (&acc)[MR][NV], const uint8_t* a, int64_t pitch, const int8_t* b, int64_t step, int64_t quads) {
  const int8_t* rows = (const int8_t*)a;
  for (; quads >= 4; quads -= 4, rows += 16, b += 4 * step) {
    int8x16_t row[MR];
#pragma unroll
    for (int i = 0; i < MR; ++i) row[i] = vld1q_s8(rows + i * pitch);
#pragma unroll
    for (int j = 0; j < NV; ++j) {
      const int8x16_t b0 = vld1q_s8(b + j * 16), b1 = vld1q_s8(b + step + j * 16);
      const int8x16_t b2 = vld1q_s8(b + 2 * step + j * 16), b3 = vld1q_s8(b + 3 * step + j * 16);
#pragma unroll
      for (int i = 0; i < MR; ++i) acc[i][j] = vdotq_laneq_s32(acc[i][j], b0, row[i], 0);
#pragma unroll
      for (int i = 0; i < MR; ++i) acc[i][j] = vdotq_laneq_s32(acc[i][j], b1, row[i], 1);
#pragma unroll
      for (int i = 0; i < MR; ++i) acc[i][j] = vdotq_laneq_s32(acc[i][j], b2, row[i], 2);
#pragma unroll
      for (int i = 0; i < MR; ++i) acc[i][j] = vdotq_laneq_s32(acc[i][j], b3, row[i], 3);
    }
  }
  for (; quads > 0; --quads, rows += 4, b += step) {
#pragma unroll
    for (int i = 0; i < MR; ++i) {
      const int8x16_t row = vreinterpretq_s8_s32(vld1q_dup_s32((const int32_t*)(rows + i * pitch)));
#pragma unroll
      for (int j = 0; j < NV; ++j) acc[i][j] = vdotq_s32(acc[i][j], vld1q_s8(b + j * 16), row);
    }
  }
}

}  // namespace

#include "simd/dot_store_neon.h"

#endif
