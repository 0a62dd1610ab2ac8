// Dot products of bytes with ARMv8.6's SMMLA: two rows times two columns of eight bytes in an instruction, both sides signed.
#ifndef TIERCAST_SIMD_DOT_NEONI8MM_H_
#define TIERCAST_SIMD_DOT_NEONI8MM_H_

#include <arm_neon.h>
#include <string.h>

#include "simd/kernel_row.h"

namespace {

enum { DOT_COPIES = 1, DOT_QUAD = 4 };  // rows hold each quad once

TC_INLINE int8x16_t zip_quads(int8x16_t a, int8x16_t b, bool upper) {
  const int32x4_t first = vreinterpretq_s32_s8(a), second = vreinterpretq_s32_s8(b);
  return vreinterpretq_s8_s32(upper ? vzip2q_s32(first, second) : vzip1q_s32(first, second));
}

// Two quads of pairs of rows, pair[i] = eight bytes of row 2i and of row 2i + 1; blocks[i][j][h] are rows 2i, 2i+1 times columns
// 4j+2h, 4j+2h+1. `first` and `second` are the quads of the columns.
template <int MP, int NV>
TC_INLINE void mmla_two(int32x4_t (&blocks)[MP][NV][2], const int8x16_t (&pair)[MP], const int8x16_t (&first)[NV],
                        const int8x16_t (&second)[NV]) {
#pragma unroll
  for (int j = 0; j < NV; ++j) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int8x16_t columns = zip_quads(first[j], second[j], h == 1);
#pragma unroll
      for (int i = 0; i < MP; ++i) blocks[i][j][h] = vmmlaq_s32(blocks[i][j][h], pair[i], columns);
    }
  }
}

TC_INLINE int8x16_t pair_of(int8x16_t a, int8x16_t b, bool upper) {
  const int64x2_t first = vreinterpretq_s64_s8(a), second = vreinterpretq_s64_s8(b);
  return vreinterpretq_s8_s64(upper ? vzip2q_s64(first, second) : vzip1q_s64(first, second));
}

template <int NV>
TC_INLINE void load_quad(int8x16_t (&columns)[NV], const int8_t* b) {
#pragma unroll
  for (int j = 0; j < NV; ++j) columns[j] = vld1q_s8(b + j * 16);
}

// Sums of MR rows times 4 NV columns; a lone row is taken twice.
template <int MR, int NV>
struct DotSums {
  enum { MP = (MR + 1) / 2 };
  int32x4_t blocks[MP][NV][2];

  TC_INLINE void start(const int32_t* bias) {
#pragma unroll
    for (int j = 0; j < NV; ++j) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int32x2_t two = vld1_s32(bias + 4 * j + 2 * h);
#pragma unroll
        for (int i = 0; i < MP; ++i) blocks[i][j][h] = vcombine_s32(two, two);
      }
    }
  }

  // Rows of a, `pitch` bytes apart, times b [quads][4 NV][4].
  TC_INLINE void add(const int8_t* a, int64_t pitch, const int8_t* b, int64_t quads, bool) {
    const int64_t next = MR == 1 ? 0 : pitch;
    int8x16_t low[MP], high[MP], first[NV], second[NV];
    for (; quads >= 4; quads -= 4, a += 16, b += 64 * NV) {
#pragma unroll
      for (int i = 0; i < MP; ++i) {
        const int8x16_t one = vld1q_s8(a + 2 * i * pitch), other = vld1q_s8(a + 2 * i * pitch + next);
        low[i] = pair_of(one, other, false);
        high[i] = pair_of(one, other, true);
      }
      load_quad(first, b);
      load_quad(second, b + 16 * NV);
      mmla_two(blocks, low, first, second);
      load_quad(first, b + 32 * NV);
      load_quad(second, b + 48 * NV);
      mmla_two(blocks, high, first, second);
    }
    if (quads & 2) {
#pragma unroll
      for (int i = 0; i < MP; ++i) low[i] = vcombine_s8(vld1_s8(a + 2 * i * pitch), vld1_s8(a + 2 * i * pitch + next));
      load_quad(first, b);
      load_quad(second, b + 16 * NV);
      mmla_two(blocks, low, first, second);
      a += 8;
      b += 32 * NV;
    }
    if (quads & 1) {
#pragma unroll
      for (int i = 0; i < MP; ++i) {
        uint32_t one, other;
        memcpy(&one, a + 2 * i * pitch, 4);
        memcpy(&other, a + 2 * i * pitch + next, 4);
        low[i] = vcombine_s8(vcreate_s8(one), vcreate_s8(other));
      }
      load_quad(first, b);
#pragma unroll
      for (int j = 0; j < NV; ++j) second[j] = vdupq_n_s8(0);
      mmla_two(blocks, low, first, second);
    }
  }

  // Of row i, columns 4j..4j+3.
  TC_INLINE int32x4_t sum(int i, int j) const {
    const int64x2_t left = vreinterpretq_s64_s32(blocks[i / 2][j][0]), right = vreinterpretq_s64_s32(blocks[i / 2][j][1]);
    return vreinterpretq_s32_s64(i % 2 == 0 ? vzip1q_s64(left, right) : vzip2q_s64(left, right));
  }
};

}  // namespace

#endif
