// The AVX2 row of quantized_depthwise_conv2d, sixteen channels at a time: VPMADDWD takes two taps of eight sums from lines of pairs
// (pair_lines.h), whose halves packing puts in order again.
#ifndef TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_PAIRS_H_
#define TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_PAIRS_H_

#include <string.h>

#include "quantized_depthwise_conv2d/pair_lines.h"

namespace {

// What stays the same for all outputs of a block.
struct Ending {
  __m256i start[2];
  __m256 scale[2], high;
  __m256i zero, least, most;
};

TC_INLINE __m256i half_of(const Block& b, const void* sixteen, int half) {
  const __m128i* from = (const __m128i*)sixteen + half;
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(from)), _mm_loadu_si128(b.folded ? from : from + 2), 1);
}

inline Ending ending_of(const Block& b) {
  Ending e;
  const Limits& to = b.v->to;
  for (int half = 0; half < 2; ++half) {
    e.start[half] = half_of(b, b.v->bias + b.c, half);
    e.scale[half] = _mm256_castsi256_ps(half_of(b, b.v->scale + b.c, half));
  }
  e.high = _mm256_set1_ps((float)(to.high - to.zero));
  e.zero = _mm256_set1_epi16((short)to.zero);
  e.least = _mm256_set1_epi8((char)to.low);
  e.most = _mm256_set1_epi8((char)to.high);
  return e;
}

// Filters of KH rows and PAIRS pairs of taps, STEP pairs of a line from one to the next where outputs' pairs lie side by side; 0: any.
// Adds half a block's products for U outputs from `column` of a line on; `slot` is the first filter row's line.
template <int KH, int PAIRS, int STEP, int U>
TC_INLINE void add_half(const Block& b, int64_t slot, int64_t column, int half, __m256i (&sums)[U]) {
  const int64_t kernel_h = KH > 0 ? KH : b.v->p->kernel[0], across = b.v->p->strides[1] / b.every * PAIR;
  const int16_t* weight = b.taps + half * 16;
  auto row = [&](int64_t ky) TC_LAMBDA_INLINE {
    const int16_t* x = line_of(b, slot, ky, kernel_h) + column * PAIR + half * 16;
    if constexpr (PAIRS > 0) {
      __m256i columns[U + (PAIRS - 1) * STEP];
#pragma GCC unroll 16
      for (int i = 0; i < U + (PAIRS - 1) * STEP; ++i) columns[i] = _mm256_loadu_si256((const __m256i*)(x + i * PAIR));
#pragma GCC unroll 8
      for (int pair = 0; pair < PAIRS; ++pair, weight += PAIR) {
        const __m256i w = _mm256_loadu_si256((const __m256i*)weight);
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) sums[u] = _mm256_add_epi32(sums[u], _mm256_madd_epi16(columns[u + pair * STEP], w));
      }
    } else {
      const int64_t step = 2 * (int64_t)b.v->p->dilations[1] / b.every * PAIR;
      for (int64_t pair = 0; pair < b.pairs; ++pair, weight += PAIR, x += step) {
        const __m256i w = _mm256_loadu_si256((const __m256i*)weight);
#pragma GCC unroll 8
        for (int u = 0; u < U; ++u) {
          sums[u] = _mm256_add_epi32(sums[u], _mm256_madd_epi16(_mm256_loadu_si256((const __m256i*)(x + u * across)), w));
        }
      }
    }
  };
  if constexpr (KH > 0) {
#pragma GCC unroll 8
    for (int ky = 0; ky < KH; ++ky) row(ky);
  } else {
    for (int64_t ky = 0; ky < kernel_h; ++ky) row(ky);
  }
}

// Compilers would do both halves at once, for which registers do not suffice.
TC_INLINE void keep(__m256i& value) { asm volatile("" : "+x"(value)); }

// The first n bytes.
TC_INLINE void put_some(int8_t* to, __m128i bytes, int64_t n) {
  if (n & 8) {
    _mm_storel_epi64((__m128i*)to, bytes);
    bytes = _mm_srli_si128(bytes, 8);
    to += 8;
  }
  uint64_t left = (uint64_t)_mm_cvtsi128_si64(bytes);
  for (int64_t size = 4; size > 0; size /= 2) {
    if ((n & size) == 0) continue;
    memcpy(to, &left, (size_t)size);
    left >>= 8 * size;
    to += size;
  }
}

// One output, or two that were done at once.
TC_INLINE void put_output(const Block& b, int8_t* to, __m128i bytes) {
  if (b.n == QDW_LANES) return _mm_storeu_si128((__m128i*)to, bytes);
  put_some(to, bytes, b.n);
  if (b.folded) put_some(to + b.apart * b.v->y->strides[2], _mm_srli_si128(bytes, 8), b.n);
}

// U outputs of s8. Reals below s32's range end as the least value; those above it only filters of any size expect.
template <int KH, int PAIRS, int STEP, int U>
TC_INLINE void filter_pixels(const Block& b, const Ending& e, int64_t slot, int64_t column, int8_t* y) {
  __m256i whole[2][U];
#pragma GCC unroll 2
  for (int half = 0; half < 2; ++half) {
    __m256i sums[U];
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) sums[u] = e.start[half];
    add_half<KH, PAIRS, STEP, U>(b, slot, column, half, sums);
#pragma GCC unroll 8
    for (int u = 0; u < U; ++u) {
      __m256 real = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[u]), e.scale[half]);
      if (KH == 0) real = _mm256_min_ps(e.high, real);
      whole[half][u] = _mm256_cvtps_epi32(real);
      keep(whole[half][u]);
    }
  }
  const int64_t pitch = b.v->y->strides[2];
#pragma GCC unroll 8
  for (int u = 0; u < U; u += 2) {
    const int other = u + 1 < U ? u + 1 : u;
    const __m256i one = _mm256_adds_epi16(_mm256_packs_epi32(whole[0][u], whole[1][u]), e.zero);
    const __m256i two = _mm256_adds_epi16(_mm256_packs_epi32(whole[0][other], whole[1][other]), e.zero);
    const __m256i bytes = _mm256_min_epi8(_mm256_max_epi8(_mm256_packs_epi16(one, two), e.least), e.most);
    const __m256i ordered = _mm256_permute4x64_epi64(bytes, 0xd8);
    put_output(b, y + u * pitch, _mm256_castsi256_si128(ordered));
    if (u + 1 < U) put_output(b, y + other * pitch, _mm256_extracti128_si256(ordered, 1));
  }
}

// A row of s8; the last four outputs may be some that are there already.
template <int KH, int PAIRS, int STEP>
TC_NOINLINE void filter_row(const Block b, const Ending& e, int64_t slot, int8_t* y) {
  const int64_t across = b.v->p->strides[1] / b.every, pitch = b.v->y->strides[2];
  if (b.width < 4) {
    for (int64_t i = 0; i < b.width; ++i) filter_pixels<KH, PAIRS, STEP, 1>(b, e, slot, i * across, y + i * pitch);
    return;
  }
  for (int64_t i = 0; i < b.width; i += 4) {
    const int64_t at = i + 4 <= b.width ? i : b.width - 4;
    filter_pixels<KH, PAIRS, STEP, 4>(b, e, slot, at * across, y + at * pitch);
  }
}

// A row of sums, or of reals.
TC_NOINLINE void filter_row_other(const Block& b, const Ending& e, int64_t slot, int64_t at) {
  const tc_view& y = *b.v->y;
  for (int64_t i = 0; i < b.width; ++i, at += y.strides[2]) {
    int32_t all[QDW_LANES];
    for (int half = 0; half < 2; ++half) {
      __m256i sums[1] = {e.start[half]};
      add_half<0, 0, 0, 1>(b, slot, i * (b.v->p->strides[1] / b.every), half, sums);
      const __m256i real = _mm256_castps_si256(_mm256_mul_ps(_mm256_cvtepi32_ps(sums[0]), e.scale[half]));
      const __m256i values = y.dtype == TC_S32 ? sums[0] : real;
      _mm_storeu_si128((__m128i*)(all + 4 * half), _mm256_castsi256_si128(values));
      _mm_storeu_si128((__m128i*)(all + 8 + 4 * half), _mm256_extracti128_si256(values, 1));
    }
    memcpy((int32_t*)y.data + at, all, (size_t)b.n * 4);
    if (b.folded) memcpy((int32_t*)y.data + at + b.apart * y.strides[2], all + 8, (size_t)b.n * 4);
  }
}

using FilterRow = void (*)(const Block, const Ending&, int64_t, int8_t*);

inline FilterRow filter_row_for(const QDepthwise& v, const Ending& e) {
  const tc_quantized_depthwise_conv2d_params* p = v.p;
  const int64_t kh = p->kernel[0], kw = p->kernel[1], stride = p->strides[1];
  bool small = true;
  for (const __m256& scale : e.scale) {
    const __m256 size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), scale);
    small = small && _mm256_movemask_ps(_mm256_cmp_ps(size, _mm256_set1_ps(1.0f), _CMP_LT_OQ)) == 0xff;
  }
  const bool side_by_side = stride <= 2 && p->dilations[1] == 1 && small;
  if (side_by_side && kh == 3 && kw == 3) return stride == 1 ? filter_row<3, 2, 2> : filter_row<3, 2, 1>;
  if (side_by_side && kh == 5 && kw == 5) return stride == 1 ? filter_row<5, 3, 2> : filter_row<5, 3, 1>;
  return filter_row<0, 0, 0>;
}

// Channels of one block of output rows [begin, end) of all images.
inline void filter_block(const QDepthwise& v, int64_t index, int64_t begin, int64_t end, void* scratch) {
  Block b = block_of(v, index, scratch);
  spread_taps(b, (int16_t*)scratch);
  const Ending e = ending_of(b);
  const FilterRow filter = filter_row_for(v, e);
  const int64_t tile = width_of_tile(b), nothing = INT64_MIN;
  for (int64_t first = 0; first < v.ow; first += tile) {
    set_columns(b, first, v.ow - first < tile ? v.ow - first : tile);
    for (int64_t item = begin, known = nothing; item < end; ++item) {
      const int64_t n = item / v.oh, oy = item % v.oh;
      if (oy == 0) known = nothing;
      const int64_t top = oy * v.p->strides[0] - v.p->pads[0], slot = slot_of(v, top);
      known = fill_lines(b, (const int8_t*)v.x->data + n * v.x->strides[0], top, slot, known);
      const int64_t at = n * v.y->strides[0] + oy * v.y->strides[1] + first * v.y->strides[2] + b.c;
      v.y->dtype == TC_S8 ? filter(b, e, slot, (int8_t*)v.y->data + at) : filter_row_other(b, e, slot, at);
    }
  }
}

}  // namespace

#endif
