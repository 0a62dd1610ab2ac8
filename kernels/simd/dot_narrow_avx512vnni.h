// Panels narrower than a vector of 16 columns: 16 / W quads of W columns fill it. A row's 16 / W quads are repeated for each column, so
// lane (column, quad) sums a part of its column; parts are added in the end.
#ifndef TIERCAST_SIMD_DOT_NARROW_AVX512VNNI_H_
#define TIERCAST_SIMD_DOT_NARROW_AVX512VNNI_H_

#include "simd/copy_few.h"
#include "simd/dot_avx512vnni.h"
#include "simd/dot_segments.h"

#define TC_NARROW  // narrow_rows is there

namespace {

enum { NARROW_ROWS = 12 };  // as many sums, rows and what else there is fill the registers

// 16 / W quads, repeated W times.
template <int W>
TC_INLINE __m512i repeated_quads(const uint8_t* from) {
  if constexpr (W == 8) {
    int64_t two;
    memcpy(&two, from, 8);
    return _mm512_set1_epi64(two);
  } else if constexpr (W == 4) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)from));
  } else if constexpr (W == 2) {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)from));
  } else {
    return _mm512_loadu_si512(from);
  }
}

// From 16 / W quads of W columns to columns of quads.
template <int W>
TC_INLINE __m512i column_order() {
  int32_t order[16];
  for (int lane = 0; lane < 16; ++lane) order[lane] = lane % (16 / W) * W + lane / (16 / W);
  return _mm512_loadu_si512(order);
}

// Sums of neighbouring lanes of a, then of b.
TC_INLINE __m512i pair_sums(__m512i a, __m512i b) {
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_permutex2var_epi32(a, even, b), _mm512_permutex2var_epi32(a, odd, b));
}

// What W columns repeat over a vector of rows.
template <int W>
struct NarrowEnding {
  __m512i order, start;
  float scale[16];
};

template <int W>
TC_INLINE NarrowEnding<W> narrow_ending(const DotPanel& b) {
  NarrowEnding<W> ending;
  ending.order = column_order<W>();
  int32_t bias[16], sums[16];
  for (int lane = 0; lane < 16; ++lane) {
    bias[lane] = b.bias[lane % W];
    sums[lane] = b.sums[lane % W];
    ending.scale[lane] = b.scale[lane % W];
  }
  ending.start = d_start(bias, sums);
  return ending;
}

// The last `rows` of vectors of 16 / W rows each.
template <int W, int VECTORS>
TC_INLINE void store_narrow(const __m512i (&sums)[4], const NarrowEnding<W>& ending, int64_t rows, int64_t real, const DotOut& out,
                            int64_t at) {
  static_assert(VECTORS <= 4, "64 bytes are narrowed at a time");
  const tc_view& y = *out.y;
  if (y.dtype == TC_S8) {
    const __m512i bytes = d_narrow<1>(sums[0], sums[1], sums[2], sums[3], ending.scale, out.to);
    int8_t* to = (int8_t*)y.data + at;
    if (real == W && out.pitch == W) return d_put(to, bytes, rows * W);
    alignas(64) uint8_t whole[64];
    _mm512_store_si512(whole, bytes);
    if (real == W) {
      for (int64_t i = 0; i < rows; ++i) memcpy(to + i * out.pitch, whole + i * W, W);
    } else {
      for (int64_t i = 0; i < rows; ++i) copy_few((uint8_t*)to + i * out.pitch, whole + i * W, real);
    }
    return;
  }
  int32_t whole[VECTORS * 16];
  const __m512 scale = _mm512_loadu_ps(ending.scale);
  for (int v = 0; v < VECTORS; ++v) {
    const __m512i scaled = _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[v]), scale));
    _mm512_storeu_si512(whole + v * 16, y.dtype == TC_S32 ? sums[v] : scaled);
  }
  int32_t* to = (int32_t*)y.data + at;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t c = 0; c < real; ++c) to[i * out.pitch + c] = whole[i * W + c];
  }
}

template <int MR, int W>
TC_INLINE void narrow_tile(const uint8_t* a, int64_t pitch, const Segments& segments, const DotPanel& b, const NarrowEnding<W>& ending,
                           const DotOut& out, int64_t at) {
  constexpr int quads = 16 / W;
  __m512i acc[16];  // those beyond MR stay zero
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) acc[i] = _mm512_setzero_si512();
  const int8_t* weight = b.weight;
  for (int64_t s = 0; s < segments.count; ++s) {
    const uint8_t* from = a + segments.offset[s];
    for (int64_t left = segments.quads; left > 0; left -= quads, from += 4 * quads) {
      const int64_t used = left < quads ? left : quads;
      const __m512i found = _mm512_maskz_loadu_epi32((__mmask16)(0xffffu >> (16 - used * W)), weight);
      const __m512i columns = W == 1 ? found : _mm512_permutexvar_epi32(ending.order, found);
      weight += used * W * 4;
#pragma GCC unroll 16
      for (int i = 0; i < MR; ++i) acc[i] = _mm512_dpbusd_epi32(acc[i], repeated_quads<W>(from + i * pitch), columns);
    }
  }
  // Halving until a row's lanes are its columns.
#pragma GCC unroll 4
  for (int parts = quads, count = MR; parts > 1; parts /= 2) {
    count = (count + 1) / 2;
#pragma GCC unroll 8
    for (int i = 0; i < count; ++i) acc[i] = pair_sums(acc[2 * i], acc[2 * i + 1]);
#pragma GCC unroll 8
    for (int i = count; i < 2 * count && i < 16; ++i) acc[i] = _mm512_setzero_si512();
  }
  constexpr int vectors = (MR + quads - 1) / quads, group = vectors < 4 ? vectors : 4;
  int64_t left = MR;
#pragma GCC unroll 2
  for (int v = 0; v < vectors; v += group, left -= group * quads) {
    __m512i sums[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i)
      sums[i] = i < group && v + i < vectors ? _mm512_add_epi32(acc[v + i], ending.start) : _mm512_setzero_si512();
    store_narrow<W, group>(sums, ending, left < group * quads ? left : group * quads, b.real, out, at + v * quads * out.pitch);
  }
}

template <int W>
TC_NOINLINE void narrow_rows_of(const uint8_t* a, int64_t pitch, int64_t rows, const Segments& segments, const DotPanel& b,
                                const DotOut& out) {
  const NarrowEnding<W> ending = narrow_ending<W>(b);
  int64_t at = out.at;
  for (; rows >= NARROW_ROWS; rows -= NARROW_ROWS, a += NARROW_ROWS * pitch, at += NARROW_ROWS * out.pitch) {
    narrow_tile<NARROW_ROWS, W>(a, pitch, segments, b, ending, out, at);
  }
  for (; rows >= 4; rows -= 4, a += 4 * pitch, at += 4 * out.pitch) narrow_tile<4, W>(a, pitch, segments, b, ending, out, at);
  for (; rows > 0; --rows, a += pitch, at += out.pitch) narrow_tile<1, W>(a, pitch, segments, b, ending, out, at);
}

// Up to 60 bytes behind a row's segments are read, and meet no weight.
inline void narrow_rows(const uint8_t* a, int64_t pitch, int64_t rows, const Segments& segments, const DotPanel& b, const DotOut& out) {
  switch (b.width) {
    case 8:
      return narrow_rows_of<8>(a, pitch, rows, segments, b, out);
    case 4:
      return narrow_rows_of<4>(a, pitch, rows, segments, b, out);
    case 2:
      return narrow_rows_of<2>(a, pitch, rows, segments, b, out);
    default:
      return narrow_rows_of<1>(a, pitch, rows, segments, b, out);
  }
}

}  // namespace

#endif
