// Dot products of bytes with ARMv8.6's SMMLA: two rows times two columns of eight bytes in an instruction, both sides signed.
#ifndef TIERCAST_SIMD_DOT_NEONI8MM_H_
#define TIERCAST_SIMD_DOT_NEONI8MM_H_

#include <arm_neon.h>
#include <string.h>

#include "simd/dot_forms.h"

namespace {

// Prepared rows stand in eights, eight bytes of each side by side: octet o of row i of an eight at (8 o + i) * 8. Prepared panels have the
// eight bytes of two columns in each vector.
enum { DOT_PREPARES = DOT_WHERE_IT_PAYS, DOT_GROUP = 8, DOT_QUAD = 4, DOT_ROW = 8 };
TC_INLINE int64_t prepared_row_bytes(int64_t quads) { return (quads + 1) / 2 * 8; }
TC_INLINE int64_t prepared_panel_bytes(int64_t quads) { return (quads + 1) / 2 * 64; }

// Reads no byte behind the quads.
TC_INLINE void prepare_row(int8_t* to, const int8_t* from, int64_t quads) {
  for (; quads >= 4; quads -= 4, from += 16, to += 128) {
    const int8x16_t both = vld1q_s8(from);
    vst1_s8(to, vget_low_s8(both));
    vst1_s8(to + 64, vget_high_s8(both));
  }
  if (quads >= 2) {
    vst1_s8(to, vld1_s8(from));
    quads -= 2;
    from += 8;
    to += 64;
  }
  if (quads > 0) {
    uint32_t quad;
    memcpy(&quad, from, 4);
    vst1_s8(to, vcreate_s8(quad));
  }
}

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

// A panel of `width` columns, 4 or 8.
inline void prepare_panel(int8_t* to, const int8_t* from, int64_t quads, int32_t width) {
  for (; quads > 0; quads -= 2, from += 8 * width) {
    for (int32_t at = 0; at < 4 * width; at += 16, to += 32) {
      const int8x16_t first = vld1q_s8(from + at), second = quads > 1 ? vld1q_s8(from + 4 * width + at) : vdupq_n_s8(0);
      vst1q_s8(to, zip_quads(first, second, false));
      vst1q_s8(to + 16, zip_quads(first, second, true));
    }
  }
}

template <int NV>
TC_INLINE void load_quad(int8x16_t (&columns)[NV], const int8_t* b) {
#pragma unroll
  for (int j = 0; j < NV; ++j) columns[j] = vld1q_s8(b + j * 16);
}

// Blocks of two rows by two columns; a lone row is taken twice.
template <int MR, int NV>
struct Blocks {
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

  // Of row i, columns 4j..4j+3.
  TC_INLINE int32x4_t sum(int i, int j) const {
    const int64x2_t left = vreinterpretq_s64_s32(blocks[i / 2][j][0]), right = vreinterpretq_s64_s32(blocks[i / 2][j][1]);
    return vreinterpretq_s32_s64(i % 2 == 0 ? vzip1q_s64(left, right) : vzip2q_s64(left, right));
  }
};

// Sums of MR rows times 4 NV columns, both as they are.
template <int MR, int NV>
struct DotSums : Blocks<MR, NV> {
  enum { FORM = DOT_PLAIN, MP = (MR + 1) / 2 };
  using Blocks<MR, NV>::blocks;

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
};

// The same of prepared rows and a prepared panel.
template <int MR, int NV>
struct PreparedSums : Blocks<MR, NV> {
  enum { FORM = DOT_PREPARED, MP = (MR + 1) / 2 };
  using Blocks<MR, NV>::blocks;

  TC_INLINE void add(const int8_t* a, int64_t, const int8_t* b, int64_t quads, bool) {
#pragma clang loop unroll_count(2)
    for (; quads > 0; quads -= 2, a += 64, b += 32 * NV) {
      int8x16_t pair[MP];
#pragma unroll
      for (int i = 0; i < MP; ++i) pair[i] = vld1q_s8(a + 16 * i);
#pragma unroll
      for (int j = 0; j < NV; ++j) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int8x16_t columns = vld1q_s8(b + (2 * j + h) * 16);
#pragma unroll
          for (int i = 0; i < MP; ++i) blocks[i][j][h] = vmmlaq_s32(blocks[i][j][h], pair[i], columns);
        }
      }
    }
  }
};

template <int MR, int NV>
using SpreadSums = DotSums<MR, NV>;
TC_INLINE void spread_quads(int8_t*, const int8_t*, int64_t) {}

}  // namespace

#endif
