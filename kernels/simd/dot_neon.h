// Dot products of bytes with plain NEON, both sides signed. Two products that go to the same sum fit into s16 where no weight is -128;
// pairs of such are then added to s32: three instructions for 16 products.
#ifndef TIERCAST_SIMD_DOT_NEON_H_
#define TIERCAST_SIMD_DOT_NEON_H_

#include <arm_neon.h>
#include <string.h>

#include "simd/dot_forms.h"

namespace {

// Rows are prepared: they hold each quad four times, so that a vector of it meets four columns, and stand in fours: quad q of row i of a
// four at (4 q + i) * 16.
enum { DOT_PREPARES = DOT_ALWAYS, DOT_GROUP = 4, DOT_QUAD = 64, DOT_ROW = 16 };
TC_INLINE int64_t prepared_row_bytes(int64_t quads) { return quads * 16; }

// Reads no byte behind the quads.
TC_INLINE void prepare_row(int8_t* to, const int8_t* from, int64_t quads) {
  for (; quads >= 4; quads -= 4, from += 16, to += 4 * DOT_QUAD) {
    const int32x4_t four = vreinterpretq_s32_s8(vld1q_s8(from));
    vst1q_s8(to, vreinterpretq_s8_s32(vdupq_lane_s32(vget_low_s32(four), 0)));
    vst1q_s8(to + DOT_QUAD, vreinterpretq_s8_s32(vdupq_lane_s32(vget_low_s32(four), 1)));
    vst1q_s8(to + 2 * DOT_QUAD, vreinterpretq_s8_s32(vdupq_lane_s32(vget_high_s32(four), 0)));
    vst1q_s8(to + 3 * DOT_QUAD, vreinterpretq_s8_s32(vdupq_lane_s32(vget_high_s32(four), 1)));
  }
  for (; quads > 0; --quads, from += 4, to += DOT_QUAD) {
    int32_t quad;
    memcpy(&quad, from, 4);
    vst1q_s8(to, vreinterpretq_s8_s32(vdupq_n_s32(quad)));
  }
}

// The same of pixels one after the other.
TC_INLINE void spread_quads(int8_t* to, const int8_t* from, int64_t quads) {
  for (; quads >= 4; quads -= 4, from += 16, to += 64) {
    const int32x4_t four = vreinterpretq_s32_s8(vld1q_s8(from));
    vst1q_s8(to, vreinterpretq_s8_s32(vdupq_lane_s32(vget_low_s32(four), 0)));
    vst1q_s8(to + 16, vreinterpretq_s8_s32(vdupq_lane_s32(vget_low_s32(four), 1)));
    vst1q_s8(to + 32, vreinterpretq_s8_s32(vdupq_lane_s32(vget_high_s32(four), 0)));
    vst1q_s8(to + 48, vreinterpretq_s8_s32(vdupq_lane_s32(vget_high_s32(four), 1)));
  }
  for (; quads > 0; --quads, from += 4, to += 16) {
    int32_t quad;
    memcpy(&quad, from, 4);
    vst1q_s8(to, vreinterpretq_s8_s32(vdupq_n_s32(quad)));
  }
}

TC_INLINE int64_t prepared_panel_bytes(int64_t) { return 0; }
TC_INLINE void prepare_panel(int8_t*, const int8_t*, int64_t, int32_t) {}

// Two quads of NV vectors of columns and MR rows; low and high have two partial sums of each column.
template <bool SMALL, int QUAD, int MR, int NV>
TC_INLINE void dot_two(int32x4_t (&low)[MR][NV], int32x4_t (&high)[MR][NV], const int8_t* a, const int64_t (&at)[MR], const int8_t* b) {
  int8x16_t first[NV], second[NV];
#pragma unroll
  for (int j = 0; j < NV; ++j) {
    first[j] = vld1q_s8(b + j * 16);
    second[j] = vld1q_s8(b + (NV + j) * 16);
  }
#pragma unroll
  for (int i = 0; i < MR; ++i) {
    const int8x16_t one = vld1q_s8(a + at[i]), other = vld1q_s8(a + at[i] + QUAD);
#pragma unroll
    for (int j = 0; j < NV; ++j) {
      const int16x8_t products = vmull_s8(vget_low_s8(first[j]), vget_low_s8(one));
      const int16x8_t above = vmull_s8(vget_high_s8(first[j]), vget_high_s8(one));
      if constexpr (SMALL) {
        low[i][j] = vpadalq_s16(low[i][j], vmlal_s8(products, vget_low_s8(second[j]), vget_low_s8(other)));
        high[i][j] = vpadalq_s16(high[i][j], vmlal_s8(above, vget_high_s8(second[j]), vget_high_s8(other)));
      } else {
        low[i][j] = vpadalq_s16(low[i][j], products);
        high[i][j] = vpadalq_s16(high[i][j], above);
        low[i][j] = vpadalq_s16(low[i][j], vmull_s8(vget_low_s8(second[j]), vget_low_s8(other)));
        high[i][j] = vpadalq_s16(high[i][j], vmull_s8(vget_high_s8(second[j]), vget_high_s8(other)));
      }
    }
  }
}

template <int MR, int NV>
TC_INLINE void dot_one(int32x4_t (&low)[MR][NV], int32x4_t (&high)[MR][NV], const int8_t* a, const int64_t (&at)[MR], const int8_t* b) {
#pragma unroll
  for (int j = 0; j < NV; ++j) {
    const int8x16_t columns = vld1q_s8(b + j * 16);
#pragma unroll
    for (int i = 0; i < MR; ++i) {
      const int8x16_t row = vld1q_s8(a + at[i]);
      low[i][j] = vpadalq_s16(low[i][j], vmull_s8(vget_low_s8(columns), vget_low_s8(row)));
      high[i][j] = vpadalq_s16(high[i][j], vmull_s8(vget_high_s8(columns), vget_high_s8(row)));
    }
  }
}

// Sums of MR rows times 4 NV columns, two of each.
template <int MR, int NV>
struct HalfSums {
  int32x4_t low[MR][NV], high[MR][NV];

  TC_INLINE void start(const int32_t* bias) {
#pragma unroll
    for (int j = 0; j < NV; ++j) {
      const int32x4x2_t halves = vzipq_s32(vld1q_s32(bias + 4 * j), vdupq_n_s32(0));
#pragma unroll
      for (int i = 0; i < MR; ++i) {
        low[i][j] = halves.val[0];
        high[i][j] = halves.val[1];
      }
    }
  }

  // Rows `at` bytes behind a, their quads QUAD bytes apart, times b [quads][4 NV][4]. small: no weight is -128.
  template <int QUAD>
  TC_INLINE void add_quads(const int8_t* a, const int64_t (&at)[MR], const int8_t* b, int64_t quads, bool small) {
    if (small) {
      for (; quads >= 4; quads -= 4, a += 4 * QUAD, b += 64 * NV) {
        dot_two<true, QUAD>(low, high, a, at, b);
        dot_two<true, QUAD>(low, high, a + 2 * QUAD, at, b + 32 * NV);
      }
      if (quads & 2) {
        dot_two<true, QUAD>(low, high, a, at, b);
        a += 2 * QUAD;
        b += 32 * NV;
      }
    } else {
      for (; quads >= 2; quads -= 2, a += 2 * QUAD, b += 32 * NV) dot_two<false, QUAD>(low, high, a, at, b);
    }
    if (quads & 1) dot_one(low, high, a, at, b);
  }

  // Of row i, columns 4j..4j+3.
  TC_INLINE int32x4_t sum(int i, int j) const {
#if defined(__aarch64__)
    return vpaddq_s32(low[i][j], high[i][j]);
#else
    return vcombine_s32(vpadd_s32(vget_low_s32(low[i][j]), vget_high_s32(low[i][j])),
                        vpadd_s32(vget_low_s32(high[i][j]), vget_high_s32(high[i][j])));
#endif
  }
};

template <int MR, int NV>
struct PreparedSums : HalfSums<MR, NV> {
  enum { FORM = DOT_PREPARED };
  TC_INLINE void add(const int8_t* a, int64_t, const int8_t* b, int64_t quads, bool small) {
    int64_t at[MR];
#pragma unroll
    for (int i = 0; i < MR; ++i) at[i] = i * DOT_ROW;
    this->template add_quads<DOT_QUAD>(a, at, b, quads, small);
  }
};

// Rows `pitch` bytes apart.
template <int MR, int NV>
struct SpreadSums : HalfSums<MR, NV> {
  enum { FORM = DOT_SPREAD };
  TC_INLINE void add(const int8_t* a, int64_t pitch, const int8_t* b, int64_t quads, bool small) {
    int64_t at[MR];
#pragma unroll
    for (int i = 0; i < MR; ++i) at[i] = i * pitch;
    this->template add_quads<16>(a, at, b, quads, small);
  }
};

template <int MR, int NV>
using DotSums = PreparedSums<MR, NV>;

}  // namespace

#endif
