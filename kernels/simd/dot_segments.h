// Rows of bytes that lie in memory as a few segments each, times one packed panel of s8 weights: what dot_tile.h does for one segment.
// An instruction set's own header (simd/dot_<isa>.h) has been included before.
#ifndef TIERCAST_SIMD_DOT_SEGMENTS_H_
#define TIERCAST_SIMD_DOT_SEGMENTS_H_

#include "simd/dot_tile.h"

namespace {

enum { SEGMENTS = 64 };

// A row's segments: `quads` quads each, offset[i] bytes behind the row's first byte. They meet the panel's quads in order.
struct Segments {
  int64_t count, quads;
  int64_t offset[SEGMENTS];
};

template <int MR, int NV>
TC_INLINE void segment_tile(const uint8_t* a, int64_t pitch, const Segments& segments, const DotPanel& b, int64_t column, const DotOut& out,
                            int64_t at) {
  D acc[MR][NV];
#pragma GCC unroll 16
  for (int j = 0; j < NV; ++j) {
    const D start = d_start(b.bias + column + j * DOT_LANES, b.sums + column + j * DOT_LANES);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) acc[i][j] = start;
  }
  const int64_t step = (int64_t)b.width * 4;
  const int8_t* weight = b.weight + column * 4;
  for (int64_t s = 0; s < segments.count; ++s, weight += segments.quads * step) {
    dot_multiply<MR, NV>(acc, a + segments.offset[s], pitch, weight, step, segments.quads);
  }
  d_store<MR, NV>(*out.y, at + column, out.pitch, acc, b.scale + column, out.to, b.real - column);
}

// All rows times NV vectors of columns, MR rows at a time; what is left goes by 2 / 3 and 1 / 3 of that, so that 8 are 8 and not 6 and 2.
template <int MR, int NV>
TC_INLINE void segment_rows_of(const uint8_t* a, int64_t pitch, int64_t rows, const Segments& segments, const DotPanel& b, int64_t column,
                               const DotOut& out) {
  constexpr int more = MR * 2 / 3, few = MR / 3;
  int64_t at = out.at;
  while (rows > 0) {
    int took = 1;
    if (rows >= MR && rows != MR + few) {
      segment_tile<MR, NV>(a, pitch, segments, b, column, out, at);
      took = MR;
    } else if (rows >= more) {
      segment_tile<more, NV>(a, pitch, segments, b, column, out, at);
      took = more;
    } else if (rows >= few) {
      segment_tile<few, NV>(a, pitch, segments, b, column, out, at);
      took = few;
    } else {
      segment_tile<1, NV>(a, pitch, segments, b, column, out, at);
    }
    rows -= took;
    a += took * pitch;
    at += took * out.pitch;
  }
}

TC_NOINLINE void segment_rows(const uint8_t* a, int64_t pitch, int64_t rows, const Segments& segments, const DotPanel& b,
                              const DotOut& out) {
  int64_t column = 0;
  for (; column + TC_NR <= b.width; column += TC_NR) segment_rows_of<TC_MR, DOT_WIDE>(a, pitch, rows, segments, b, column, out);
  if constexpr (DOT_WIDE >= 4) {
    for (; column + TC_NR / 2 <= b.width; column += TC_NR / 2) {
      segment_rows_of<2 * TC_MR, DOT_WIDE / 2>(a, pitch, rows, segments, b, column, out);
    }
  }
  for (; column < b.width; column += DOT_LANES) {
    segment_rows_of<DOT_WIDE >= 4 ? 2 * TC_MR : TC_MR, 1>(a, pitch, rows, segments, b, column, out);
  }
}

}  // namespace

#endif
