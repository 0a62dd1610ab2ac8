// Rows of bytes times one packed panel of s8 weights on NEON: sums, bias, scale and store. simd/dot_<isa>.h has been included before: it
// gives DotSums<MR, NV> of plain rows, SpreadSums<MR, NV> of spread and PreparedSums<MR, NV> of prepared ones, which stand in groups of
// DOT_GROUP rows, DOT_ROW bytes apart in them, and DOT_PREPARES, which of both there are.
#ifndef TIERCAST_SIMD_DOT_ROWS_H_
#define TIERCAST_SIMD_DOT_ROWS_H_

#include "simd/requantize_neon.h"

namespace {

// Rows, each of `count` pieces of `quads` quads: piece s of row i begins `at[s]` bytes behind row i.
struct DotRows {
  const int8_t* first;
  int64_t pitch;  // bytes of a row, or between rows
  int64_t quads, count;
  const int64_t* at;
  int form;
};

struct DotPanel {
  const int8_t* weight;  // [count][quads][width][4]
  int32_t width;
  bool small;    // no weight is -128
  int64_t real;  // columns that y has
  const int32_t* bias;
  const float* scale;
};

struct DotOut {
  const tc_view* y;
  int64_t at, pitch;  // element of row 0, column 0; elements between rows
  Limits to;
};

// Row `index` of prepared rows, each `bytes` long.
TC_INLINE int64_t prepared_at(int64_t bytes, int64_t index) { return index / DOT_GROUP * DOT_GROUP * bytes + index % DOT_GROUP * DOT_ROW; }

template <class Sums>
TC_INLINE void tile_sums(Sums& sums, const DotRows& a, int64_t row, const DotPanel& b, int columns) {
  sums.start(b.bias);
  if constexpr (Sums::FORM == DOT_PREPARED) {
    sums.add(a.first + prepared_at(a.pitch, row), a.pitch, b.weight, a.quads, b.small);
  } else {
    const int8_t *from = a.first + row * a.pitch, *weight = b.weight;
    for (int64_t i = 0; i < a.count; ++i, weight += a.quads * 4 * columns) sums.add(from + a.at[i], a.pitch, weight, a.quads, b.small);
  }
}

// What tiles of whole columns of s8 end with.
struct DotEnding {
  int8_t* y;
  int64_t pitch;
  float32x4_t scale[2];
  Narrowing to;
};

// Rows i and i + 1 of a tile as s8; where the tile is four columns wide they stand twice.
template <int MR, int NV, class Sums>
TC_INLINE int8x16_t two_rows(const Sums& sums, int i, const DotEnding& e) {
  const int next = i + 1 < MR ? i + 1 : i;
  return narrowed(halved(scaled_four(sums.sum(i, 0), e.scale[0]), scaled_four(sums.sum(i, NV - 1), e.scale[1]), e.to),
                  halved(scaled_four(sums.sum(next, 0), e.scale[0]), scaled_four(sums.sum(next, NV - 1), e.scale[1]), e.to));
}

template <int MR, int NV, class Sums>
TC_INLINE void store_whole(const DotEnding& e, int8_t* y, const Sums& sums) {
#pragma unroll
  for (int i = 0; i < MR; i += 2, y += 2 * e.pitch) {
    const int8x16_t bytes = two_rows<MR, NV>(sums, i, e);
    if constexpr (NV == 2) {
      vst1_s8(y, vget_low_s8(bytes));
      if (i + 1 < MR) vst1_s8(y + e.pitch, vget_high_s8(bytes));
    } else {
      const int32_t one = vgetq_lane_s32(vreinterpretq_s32_s8(bytes), 0), other = vgetq_lane_s32(vreinterpretq_s32_s8(bytes), 2);
      memcpy(y, &one, 4);
      if (i + 1 < MR) memcpy(y + e.pitch, &other, 4);
    }
  }
}

// Rows from `row` on times a panel of 4 NV columns, all of which s8 y has; MR rows at a time, then half as many.
template <template <int, int> class Sums, int MR, int NV>
TC_INLINE void whole_rows(const DotRows& a, int64_t row, int64_t rows, const DotPanel& b, const DotEnding& e) {
  for (; row + MR <= rows; row += MR) {
    Sums<MR, NV> sums;
    tile_sums(sums, a, row, b, 4 * NV);
    store_whole<MR, NV>(e, e.y + row * e.pitch, sums);
  }
  if constexpr (MR > 1) {
    if (row < rows) whole_rows<Sums, MR / 2, NV>(a, row, rows, b, e);
  }
}

// The same of any y, and of fewer columns.
template <template <int, int> class Sums, int MR, int NV>
TC_INLINE void some_rows(const DotRows& a, int64_t row, int64_t rows, const DotPanel& b, const DotOut& out) {
  for (; row + MR <= rows; row += MR) {
    Sums<MR, NV> sums;
    tile_sums(sums, a, row, b, 4 * NV);
    int32_t all[MR][4 * NV];
#pragma unroll
    for (int i = 0; i < MR; ++i) {
#pragma unroll
      for (int j = 0; j < NV; ++j) vst1q_s32(all[i] + 4 * j, sums.sum(i, j));
    }
    for (int64_t i = 0; i < MR; ++i) {
      for (int64_t c = 0; c < b.real; ++c) store_sum(*out.y, out.at + (row + i) * out.pitch + c, all[i][c], b.scale[c], out.to);
    }
  }
  if constexpr (MR > 1) {
    if (row < rows) some_rows<Sums, 1, NV>(a, row, rows, b, out);
  }
}

// Panels of other widths, which another instruction set's packing has.
TC_NOINLINE void other_rows(const DotRows& a, int64_t rows, const DotPanel& b, const DotOut& out) {
  const int64_t step = a.form == DOT_PLAIN ? 4 : a.form == DOT_SPREAD ? 16 : DOT_QUAD;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t column = 0; column < b.real; ++column) {
      const int8_t* weight = b.weight + column * 4;
      int32_t sum = b.bias[column];
      for (int64_t s = 0; s < a.count; ++s) {
        const int8_t* row = a.first + (a.form == DOT_PREPARED ? prepared_at(a.pitch, i) : i * a.pitch) + a.at[s];
        for (int64_t q = 0; q < a.quads; ++q, row += step, weight += b.width * 4) {
          for (int k = 0; k < 4; ++k) sum = wrapping_sum(sum, row[k] * weight[k]);
        }
      }
      store_sum(*out.y, out.at + i * out.pitch + column, sum, b.scale[column], out.to);
    }
  }
}

template <template <int, int> class Sums>
TC_NOINLINE void whole_panel(DotRows a, int64_t rows, DotPanel b, const DotOut& out) {
  const int half = b.width == 8 ? 4 : 0;
  const DotEnding e = {(int8_t*)out.y->data + out.at, out.pitch, {vld1q_f32(b.scale), vld1q_f32(b.scale + half)}, narrowing_of(out.to)};
  if (b.width == 8) {
    whole_rows<Sums, TC_MR, 2>(a, 0, rows, b, e);
  } else {
    whole_rows<Sums, TC_MR, 1>(a, 0, rows, b, e);
  }
  if (limited(out.to)) limit_rows(e.y, e.pitch, rows, b.width, out.to);
}

template <template <int, int> class Sums>
TC_NOINLINE void some_panel(DotRows a, int64_t rows, DotPanel b, const DotOut& out) {
  if (b.width == 8) {
    some_rows<Sums, (TC_MR < 4 ? TC_MR : 4), 2>(a, 0, rows, b, out);
  } else {
    some_rows<Sums, (TC_MR < 4 ? TC_MR : 4), 1>(a, 0, rows, b, out);
  }
}

// Rows times a panel. Prepared ones: at most up to the end of a group if the first stands inside it; panels are then 4 or 8 wide, or not
// prepared themselves.
TC_INLINE void dot_rows(const DotRows& a, int64_t rows, const DotPanel& b, const DotOut& out) {
  if (b.width != 8 && b.width != 4) return other_rows(a, rows, b, out);
  const bool whole = b.real == b.width && out.y->dtype == TC_S8;
  if (DOT_PREPARES != DOT_NEVER && a.form == DOT_PREPARED) {
    whole ? whole_panel<PreparedSums>(a, rows, b, out) : some_panel<PreparedSums>(a, rows, b, out);
  } else if (DOT_PREPARES == DOT_ALWAYS) {
    whole ? whole_panel<SpreadSums>(a, rows, b, out) : some_panel<SpreadSums>(a, rows, b, out);
  } else {
    whole ? whole_panel<DotSums>(a, rows, b, out) : some_panel<DotSums>(a, rows, b, out);
  }
}

}  // namespace

#endif
