// Lines of the AVX2 row of quantized_depthwise_conv2d. Rows of the image are widened to s16 once, borders filled in, each column
// interleaved with the one that the next tap reads, into a ring of as many lines as the filter has rows. Half h of a column holds channels
// 4h..4h+3 and 8+4h..8+4h+3 of sixteen.
// Of eight channels or fewer it holds 4h..4h+3 of two columns: output columns far apart are done at once.
#ifndef TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_PAIR_LINES_H_
#define TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_PAIR_LINES_H_

#include <immintrin.h>

#include "quantized_depthwise_conv2d/quantized_depthwise_conv2d.h"
#include "simd/kernel_row.h"

namespace {

enum { PAIR = 2 * QDW_LANES, LINES_BYTES = 24 << 10 };  // s16 of a column; what lines may take of the first-level cache

// Channels [c, c + n) of output columns [first, first + width) of all rows.
struct Block {
  const QDepthwise* v;
  int64_t c, n, first, width;
  bool folded;          // eight channels or fewer: twice `width` outputs, of which some may be the same
  int64_t apart;        // from an output column to the one that stands beside it
  const int8_t* end;    // behind x's last byte
  int64_t every;        // columns from one pair to the next: pairs begin at even taps, so even strides need every other one
  int64_t pairs;        // of a filter row
  int64_t columns;      // pairs of a line
  const int16_t* taps;  // [kh][pairs][PAIR]
  int16_t* lines;       // [kh][columns][PAIR]
};

inline Block block_of(const QDepthwise& v, int64_t index, void* scratch) {
  Block b = {&v, index * QDW_LANES};
  b.n = v.c - b.c < QDW_LANES ? v.c - b.c : QDW_LANES;
  b.end = (const int8_t*)v.x->data + 1;
  for (int axis = 0; axis < 4; ++axis) b.end += (v.x->dims[axis] - 1) * v.x->strides[axis];
  b.folded = b.n <= QDW_LANES / 2;
  b.every = v.p->strides[1] % 2 == 0 ? 2 : 1;
  b.pairs = (v.p->kernel[1] + 1) / 2;
  b.taps = (const int16_t*)scratch;
  b.lines = (int16_t*)scratch + v.p->kernel[0] * b.pairs * PAIR;
  return b;
}

inline void set_columns(Block& b, int64_t first, int64_t width) {
  const tc_quantized_depthwise_conv2d_params* p = b.v->p;
  b.first = first;
  b.width = b.folded ? (width + 1) / 2 : width;
  b.apart = width - b.width;
  b.columns = ((b.width - 1) * p->strides[1] + (int64_t)(p->kernel[1] - 1) * p->dilations[1]) / b.every + 1;
}

// Output columns whose lines stay in the first-level cache.
inline int64_t width_of_tile(const Block& b) {
  const tc_quantized_depthwise_conv2d_params* p = b.v->p;
  const int64_t columns = LINES_BYTES / (2 * PAIR * p->kernel[0]) * b.every - (int64_t)(p->kernel[1] - 1) * p->dilations[1];
  const int64_t most = columns / p->strides[1] > 32 ? columns / p->strides[1] : 32, tiles = b.v->ow > 0 ? (b.v->ow + most - 1) / most : 1;
  return (b.v->ow + tiles - 1) / tiles;
}

// Four channels of a quad of rows of two taps: 16 bits for each tap, row by row into `to`, `row` elements apart.
TC_INLINE void put_taps(__m128i even, __m128i odd, int64_t rows, int16_t* to, int64_t row) {
  const __m128i a = _mm_unpacklo_epi8(even, odd), b = _mm_unpackhi_epi8(even, odd);
  const __m128i c = _mm_unpacklo_epi16(a, b), d = _mm_unpackhi_epi16(a, b);
  const __m128i top = _mm_unpacklo_epi16(c, d), low = _mm_unpackhi_epi16(c, d);
  _mm_storeu_si128((__m128i*)to, _mm_cvtepi8_epi16(top));
  if (rows > 1) _mm_storeu_si128((__m128i*)(to + row), _mm_cvtepi8_epi16(_mm_srli_si128(top, 8)));
  if (rows > 2) _mm_storeu_si128((__m128i*)(to + 2 * row), _mm_cvtepi8_epi16(low));
  if (rows > 3) _mm_storeu_si128((__m128i*)(to + 3 * row), _mm_cvtepi8_epi16(_mm_srli_si128(low, 8)));
}

// One block's weights, [kh][pairs][PAIR], from quads of rows; zeros stand beside a last odd tap.
inline void spread_taps(const Block& b, int16_t* to) {
  const QDepthwise& v = *b.v;
  const int64_t kernel_w = v.p->kernel[1], tap = v.quads * QDW_LANES * 4;
  const int8_t* from = v.weight + b.c / QDW_LANES * kernel_w * tap;
  for (int64_t pair = 0; pair < b.pairs; ++pair) {
    for (int64_t q = 0; q < v.quads; ++q) {
      for (int64_t group = 0; group < 4; ++group) {
        const int8_t* at = from + 2 * pair * tap + (q * 4 + (b.folded ? group % 2 : group)) * 16;
        const __m128i even = _mm_loadu_si128((const __m128i*)at);
        const __m128i odd = 2 * pair + 1 < kernel_w ? _mm_loadu_si128((const __m128i*)(at + tap)) : _mm_setzero_si128();
        put_taps(even, odd, v.p->kernel[0] - 4 * q, to + (4 * q * b.pairs + pair) * PAIR + group % 2 * 16 + group / 2 * 8, b.pairs * PAIR);
      }
    }
  }
}

TC_INLINE __m256i widened(const int8_t* from) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)from)); }

// Eight channels of two columns.
TC_INLINE __m256i folded_column(const int8_t* one, const int8_t* other) {
  return _mm256_cvtepi8_epi16(_mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i*)one), _mm_loadl_epi64((const __m128i*)other)));
}

// Column ix of an image row: sixteen channels of which n count.
TC_INLINE __m256i single_column(const Block& b, const int8_t* from, int64_t ix) {
  if (ix < 0 || ix >= b.v->w) return _mm256_set1_epi16((short)b.v->p->x_zero);
  const int8_t* at = from + ix * b.v->x->strides[2];
  if (b.end - at >= QDW_LANES) return widened(at);
  int8_t some[QDW_LANES] = {};
  for (int64_t i = 0; i < b.n; ++i) some[i] = at[i];
  return widened(some);
}

TC_INLINE __m256i column_of(const Block& b, const int8_t* from, int64_t ix) {
  const __m256i column = single_column(b, from, ix);
  if (!b.folded) return column;
  return _mm256_permute2x128_si256(column, single_column(b, from, ix + b.apart * b.v->p->strides[1]), 0x20);
}

TC_INLINE void put_pair(int16_t* to, __m256i one, __m256i other) {
  _mm256_storeu_si256((__m256i*)to, _mm256_unpacklo_epi16(one, other));
  _mm256_storeu_si256((__m256i*)(to + 16), _mm256_unpackhi_epi16(one, other));
}

// Pairs of a line from column ix on that lie inside the image and may be loaded whole.
TC_INLINE int64_t plain_pairs(const Block& b, const int8_t* at, int64_t ix, int64_t most) {
  const int64_t reach = b.v->p->dilations[1] + b.apart * b.v->p->strides[1], pitch = b.v->x->strides[2];
  int64_t count = (b.v->w - reach - ix + b.every - 1) / b.every;
  const int64_t spare = b.end - QDW_LANES - at - reach * pitch;
  if (b.n < QDW_LANES && spare < (count - 1) * b.every * pitch) count = spare < 0 ? 0 : spare / (b.every * pitch) + 1;
  return count < 0 ? 0 : count < most ? count : most;
}

inline void fill_line(const Block& b, const int8_t* from, int16_t* to) {
  const QDepthwise& v = *b.v;
  const __m256i border = _mm256_set1_epi16((short)v.p->x_zero);
  if (from == nullptr) {
    for (int64_t i = 0; i < b.columns; ++i) put_pair(to + i * PAIR, border, border);
    return;
  }
  const int64_t dilation = v.p->dilations[1], pitch = v.x->strides[2], reach = dilation * pitch, step = b.every * pitch;
  int16_t* const stop = to + b.columns * PAIR;
  int64_t ix = b.first * v.p->strides[1] - v.p->pads[1];
  for (; to < stop && ix < 0; ix += b.every, to += PAIR) {
    put_pair(to, column_of(b, from, ix), column_of(b, from, ix + dilation));
  }
  if (to == stop) return;
  const int8_t* at = from + ix * pitch;
  int64_t left = plain_pairs(b, at, ix, (stop - to) / PAIR);
  ix += left * b.every;
  if (b.folded) {
    const int64_t away = b.apart * v.p->strides[1] * pitch;
    for (; left > 0; --left, at += step, to += PAIR) {
      put_pair(to, folded_column(at, at + away), folded_column(at + reach, at + reach + away));
    }
  } else if (dilation == 1 && b.every == 1 && left > 0) {
    __m256i one = widened(at);
    for (; left > 0; --left, at += pitch, to += PAIR) {
      const __m256i next = widened(at + pitch);
      put_pair(to, one, next);
      one = next;
    }
  }
  for (; left > 0; --left, at += step, to += PAIR) put_pair(to, widened(at), widened(at + reach));
  for (; to < stop; ix += b.every, to += PAIR) put_pair(to, column_of(b, from, ix), column_of(b, from, ix + dilation));
}

// Which line the first filter row reads, the next rows' follow: image rows that the next output row reads too stay where they are.
TC_INLINE int64_t slot_of(const QDepthwise& v, int64_t top) {
  if (v.p->dilations[0] != 1) return 0;
  const int64_t slot = top % v.p->kernel[0];
  return slot < 0 ? slot + v.p->kernel[0] : slot;
}
TC_INLINE int16_t* line_of(const Block& b, int64_t slot, int64_t ky, int64_t kernel_h) {
  return b.lines + (slot + ky < kernel_h ? slot + ky : slot + ky - kernel_h) * b.columns * PAIR;
}

// Brings the image rows from `top` on into the lines; rows above `known` are there already. Gives the first row that is not.
inline int64_t fill_lines(const Block& b, const int8_t* image, int64_t top, int64_t slot, int64_t known) {
  const QDepthwise& v = *b.v;
  int64_t iy = top;
  for (int64_t ky = 0; ky < v.p->kernel[0]; ++ky, iy += v.p->dilations[0]) {
    if (v.p->dilations[0] == 1 && iy < known) continue;
    const int8_t* from = iy >= 0 && iy < v.h ? image + iy * v.x->strides[1] + b.c : nullptr;
    fill_line(b, from, line_of(b, slot, ky, v.p->kernel[0]));
  }
  return iy;
}

}  // namespace

#endif
