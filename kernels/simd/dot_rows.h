// Rows of bytes times one packed panel of s8 weights on NEON: sums, bias, scale and store. simd/dot_<isa>.h has been included before: it
// gives dot_sums and DOT_COPIES, how often a row holds each of its quads.
#ifndef TIERCAST_SIMD_DOT_ROWS_H_
#define TIERCAST_SIMD_DOT_ROWS_H_

#include "simd/requantize_neon.h"

namespace {

struct DotPanel {
  const int8_t* weight;  // [quads][width][4]
  int64_t quads;
  int32_t width;
  int64_t real;  // columns that y has
  bool small;    // no weight is -128
  const int32_t* bias;
  const float* scale;
};

struct DotOut {
  const tc_view* y;
  int64_t at, pitch;  // element of row 0, column 0; elements between rows
  Limits to;
};

// Sums as what y holds, where that is not s8 or not a whole tile.
TC_NOINLINE void store_sums(const DotOut& out, int64_t at, const int32_t* sums, const DotPanel& b) {
  for (int64_t i = 0; i < b.real; ++i) store_sum(*out.y, at + i, sums[i], b.scale[i], out.to);
}

// Rows i and i + 1 of a tile as s8.
template <int MR, int NV>
TC_INLINE int8x16_t two_rows(const int32x4_t (&sums)[MR][NV], int i, const float32x4_t (&scale)[2], const Narrowing& to) {
  const int next = i + 1 < MR ? i + 1 : i;
  return narrowed(halved(scaled_four(sums[i][0], scale[0]), scaled_four(sums[i][NV - 1], scale[1]), to),
                  halved(scaled_four(sums[next][0], scale[0]), scaled_four(sums[next][NV - 1], scale[1]), to), to);
}

template <int MR, int NV>
TC_INLINE void store_tile(const DotOut& out, int64_t at, const int32x4_t (&sums)[MR][NV], const DotPanel& b) {
  const Narrowing to = narrowing_of(out.to);
  const float32x4_t scale[2] = {vld1q_f32(b.scale), vld1q_f32(b.scale + 4 * (NV - 1))};
  int8_t* y = (int8_t*)out.y->data + at;
  if (NV == 2 && b.real == 8 && out.y->dtype == TC_S8) {
#pragma unroll
    for (int i = 0; i < MR; i += 2, y += 2 * out.pitch) {
      const int8x16_t bytes = two_rows(sums, i, scale, to);
      vst1_s8(y, vget_low_s8(bytes));
      if (i + 1 < MR) vst1_s8(y + out.pitch, vget_high_s8(bytes));
    }
  } else if (NV == 1 && b.real == 4 && out.y->dtype == TC_S8) {
#pragma unroll
    for (int i = 0; i < MR; i += 2, y += 2 * out.pitch) {
      const int32x4_t fours = vreinterpretq_s32_s8(two_rows(sums, i, scale, to));
      const int32_t one = vgetq_lane_s32(fours, 0), other = vgetq_lane_s32(fours, 2);
      memcpy(y, &one, 4);
      if (i + 1 < MR) memcpy(y + out.pitch, &other, 4);
    }
  } else {
    int32_t rows[MR][4 * NV];
    for (int i = 0; i < MR; ++i) {
      for (int j = 0; j < NV; ++j) vst1q_s32(rows[i] + 4 * j, sums[i][j]);
    }
    for (int i = 0; i < MR; ++i) store_sums(out, at + i * out.pitch, rows[i], b);
  }
}

// Row `index` of rows that are `pitch` bytes long, the first of them one that may start a tile.
TC_INLINE const int8_t* row_at(const int8_t* a, int64_t pitch, int64_t index) {
  return DOT_COPIES == 1 ? a + index * pitch : a + index / 4 * 4 * pitch + index % 4 * 16;
}

// Rows from `row` on times a panel of 4 NV columns; MR rows at a time, then half as many.
template <int MR, int NV>
TC_INLINE void dot_rows_of(const int8_t* a, int64_t pitch, int64_t row, int64_t rows, const DotPanel& b, const DotOut& out) {
  for (; row + MR <= rows; row += MR) {
    int32x4_t sums[MR][NV];
    dot_sums<MR, NV>(sums, row_at(a, pitch, row), pitch, b.weight, b.quads, b.bias, b.small);
    store_tile<MR, NV>(out, out.at + row * out.pitch, sums, b);
  }
  if constexpr (MR > 1) {
    if (row < rows) dot_rows_of<MR / 2, NV>(a, pitch, row, rows, b, out);
  }
}

// Panels of other widths, which another instruction set's packing has.
TC_NOINLINE void dot_rows_other(const int8_t* a, int64_t pitch, int64_t rows, const DotPanel& b, const DotOut& out) {
  for (int64_t i = 0; i < rows; ++i) {
    const int8_t* row = row_at(a, pitch, i);
    for (int64_t column = 0; column < b.real; ++column) {
      int32_t sum = b.bias[column];
      for (int64_t k = 0; k < b.quads * 4; ++k) {
        sum = wrapping_sum(sum, row[k / 4 * DOT_QUAD + k % 4] * b.weight[(k / 4 * b.width + column) * 4 + k % 4]);
      }
      store_sum(*out.y, out.at + i * out.pitch + column, sum, b.scale[column], out.to);
    }
  }
}

// Rows of a, `pitch` bytes long, times a panel. Where rows hold quads several times, at most up to the end of a four if a starts inside it.
TC_NOINLINE void dot_rows(const int8_t* a, int64_t pitch, int64_t rows, const DotPanel& b, const DotOut& out) {
  if (b.width == 8) return dot_rows_of<TC_MR, 2>(a, pitch, 0, rows, b, out);
  if (b.width == 4) return dot_rows_of<TC_MR, 1>(a, pitch, 0, rows, b, out);
  dot_rows_other(a, pitch, rows, b, out);
}

}  // namespace

#endif
