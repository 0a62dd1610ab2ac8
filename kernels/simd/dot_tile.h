// Rows of bytes times one packed panel of s8 weights: sums of four products at a time, then bias, scale and store. An instruction set's own
// header (simd/dot_<isa>.h) has been included before and gives
//   D, DOT_LANES        a vector of s32 sums of that many columns
//   DOT_FLIP            what bytes of rows are xored with: 0x80 where dot products want them unsigned, which d_start makes up for
//   d_start(bias, sums)   dot_multiply<MR, NV>   d_store<MR, NV>(y, at, pitch, sums, scale, limits, columns that y has)
#ifndef TIERCAST_SIMD_DOT_TILE_H_
#define TIERCAST_SIMD_DOT_TILE_H_

#include "simd/kernel_row.h"
#include "simd/requantize.h"

namespace {

struct DotPanel {
  const int8_t* weight;  // [quads][width][4]
  int64_t quads;
  int32_t width;
  int64_t real;  // columns that y has
  const int32_t *bias, *sums;
  const float* scale;
};

struct DotOut {
  const tc_view* y;
  int64_t at, pitch;  // element of row 0, column 0; elements between rows
  Limits to;
};

template <int MR, int NV>
TC_INLINE void dot_tile(const uint8_t* a, int64_t pitch, const DotPanel& b, int64_t column, const DotOut& out, int64_t at) {
  D acc[MR][NV];
#pragma GCC unroll 16
  for (int j = 0; j < NV; ++j) {
    const D start = d_start(b.bias + column + j * DOT_LANES, b.sums + column + j * DOT_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) acc[i][j] = start;
  }
  dot_multiply<MR, NV>(acc, a, pitch, b.weight + column * 4, (int64_t)b.width * 4, b.quads);
  d_store<MR, NV>(*out.y, at + column, out.pitch, acc, b.scale + column, out.to, b.real - column);
}

// All rows times NV vectors of columns; MR rows at a time, then half as many.
template <int MR, int NV>
TC_INLINE void dot_rows_of(const uint8_t* a, int64_t pitch, int64_t rows, const DotPanel& b, int64_t column, const DotOut& out) {
  int64_t at = out.at;
  for (; rows >= MR; rows -= MR, a += MR * pitch, at += MR * out.pitch) dot_tile<MR, NV>(a, pitch, b, column, out, at);
  if constexpr (MR > 1) {
    if (rows == 0) return;
    DotOut rest = out;
    rest.at = at;
    dot_rows_of<MR / 2, NV>(a, pitch, rows, b, column, rest);
  }
}

enum { DOT_WIDE = TC_NR / DOT_LANES };

// A panel narrower than a vector, which another instruction set's packing may have.
TC_NOINLINE void dot_rows_narrow(const uint8_t* a, int64_t pitch, int64_t rows, const DotPanel& b, const DotOut& out) {
  for (int64_t i = 0; i < rows; ++i, a += pitch) {
    for (int64_t column = 0; column < b.real && column < b.width; ++column) {
      int32_t sum = b.bias[column];
      for (int64_t k = 0; k < b.quads * 4; ++k) {
        sum = wrapping_sum(sum, (int8_t)(a[k] ^ DOT_FLIP) * b.weight[(k / 4 * b.width + column) * 4 + k % 4]);
      }
      store_sum(*out.y, out.at + i * out.pitch + column, sum, b.scale[column], out.to);
    }
  }
}

TC_NOINLINE void dot_rows(const uint8_t* a, int64_t pitch, int64_t rows, const DotPanel& b, const DotOut& out) {
  if (b.width < DOT_LANES) return dot_rows_narrow(a, pitch, rows, b, out);
  int64_t column = 0;
  for (; column + TC_NR <= b.width; column += TC_NR) dot_rows_of<TC_MR, DOT_WIDE>(a, pitch, rows, b, column, out);
  if constexpr (DOT_WIDE >= 4) {
    for (; column + TC_NR / 2 <= b.width; column += TC_NR / 2) dot_rows_of<2 * TC_MR, DOT_WIDE / 2>(a, pitch, rows, b, column, out);
  }
  for (; column < b.width; column += DOT_LANES) dot_rows_of<DOT_WIDE >= 4 ? 2 * TC_MR : TC_MR, 1>(a, pitch, rows, b, column, out);
}

}  // namespace

#endif
