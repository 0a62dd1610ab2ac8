// Dot products of bytes with ARMv8.2's SDOT, both sides signed.
#ifndef TIERCAST_SIMD_DOT_NEONDOT_H_
#define TIERCAST_SIMD_DOT_NEONDOT_H_

#include <arm_neon.h>
#include <string.h>

#include "simd/dot_forms.h"

namespace {

enum { DOT_PREPARES = DOT_NEVER, DOT_GROUP = 1, DOT_QUAD = 4, DOT_ROW = 0 };
TC_INLINE int64_t prepared_row_bytes(int64_t) { return 0; }
TC_INLINE void prepare_row(int8_t*, const int8_t*, int64_t) {}
TC_INLINE int64_t prepared_panel_bytes(int64_t) { return 0; }
TC_INLINE void prepare_panel(int8_t*, const int8_t*, int64_t, int32_t) {}

// Quad LANE of MR rows times NV vectors of columns.
template <int LANE, int MR, int NV>
TC_INLINE void dot_lane(int32x4_t (&acc)[MR][NV], const int8x16_t (&row)[MR], const int8_t* b) {
#pragma unroll
  for (int j = 0; j < NV; ++j) {
    const int8x16_t columns = vld1q_s8(b + (LANE * NV + j) * 16);
#pragma unroll
    for (int i = 0; i < MR; ++i) acc[i][j] = vdotq_laneq_s32(acc[i][j], columns, row[i], LANE);
  }
}

// Sums of MR rows times 4 NV columns.
template <int MR, int NV>
struct DotSums {
  enum { FORM = DOT_PLAIN };
  int32x4_t acc[MR][NV];

  TC_INLINE void start(const int32_t* bias) {
#pragma unroll
    for (int j = 0; j < NV; ++j) {
#pragma unroll
      for (int i = 0; i < MR; ++i) acc[i][j] = vld1q_s32(bias + 4 * j);
    }
  }

  // Rows of a, `pitch` bytes apart, times b [quads][4 NV][4].
  TC_INLINE void add(const int8_t* a, int64_t pitch, const int8_t* b, int64_t quads, bool) {
    int64_t at[MR];
    int8x16_t row[MR];
#pragma unroll
    for (int i = 0; i < MR; ++i) {
      at[i] = i * pitch;
      __asm__("" : "+r"(at[i]));  // or the compiler adds up addresses in each round
    }
    for (; quads >= 4; quads -= 4, a += 16, b += 64 * NV) {
#pragma unroll
      for (int i = 0; i < MR; ++i) row[i] = vld1q_s8(a + at[i]);
      dot_lane<0>(acc, row, b);
      dot_lane<1>(acc, row, b);
      dot_lane<2>(acc, row, b);
      dot_lane<3>(acc, row, b);
    }
    if (quads & 2) {
#pragma unroll
      for (int i = 0; i < MR; ++i) row[i] = vcombine_s8(vld1_s8(a + at[i]), vdup_n_s8(0));
      dot_lane<0>(acc, row, b);
      dot_lane<1>(acc, row, b);
      a += 8;
      b += 32 * NV;
    }
    if (quads & 1) {
#pragma unroll
      for (int i = 0; i < MR; ++i) {
        int32_t quad;
        memcpy(&quad, a + at[i], 4);
        row[i] = vreinterpretq_s8_s32(vsetq_lane_s32(quad, vdupq_n_s32(0), 0));
      }
      dot_lane<0>(acc, row, b);
    }
  }

  // Of row i, columns 4j..4j+3.
  TC_INLINE int32x4_t sum(int i, int j) const { return acc[i][j]; }
};

template <int MR, int NV>
using PreparedSums = DotSums<MR, NV>;

template <int MR, int NV>
using SpreadSums = DotSums<MR, NV>;
TC_INLINE void spread_quads(int8_t*, const int8_t*, int64_t) {}

}  // namespace

#endif
