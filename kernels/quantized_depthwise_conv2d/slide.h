// 3x3 filters of stride 1 or 2 of the AVX512-VNNI row. Each input column is interleaved once, in registers, and stays there until
// the last output that reads it: those of three columns, and of two rows where the stride is 1, for a quad has room for a fourth row. A
// vector is 64 channels of a column, or 16 * M channels of 4 / M bands of rows.
#ifndef TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_SLIDE_H_
#define TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_SLIDE_H_

#include "quantized_depthwise_conv2d/strip.h"

namespace {

// Scales from 1 on are for strips, which look after reals beyond s32.
inline bool slides(const QDepthwise& v) {
  const tc_quantized_depthwise_conv2d_params* p = v.p;
  const bool dense = p->dilations[0] == 1 && p->dilations[1] == 1;
  const bool even = p->strides[0] == p->strides[1] && p->strides[0] <= 2;
  bool small = true;
  for (int64_t c = 0; c < v.c; ++c) small = small & (v.scale[c] < 1.0f);
  return dense && even && p->kernel[0] == 3 && p->kernel[1] == 3 && v.y->dtype == TC_S8 && small;
}

// What 4 / M bands of rows read and write.
template <int M, int STRIDE>
struct Slide {
  enum { BANDS = 4 / M, ROWS = STRIDE == 1 ? 2 : 1, READ = STRIDE == 1 ? 4 : 3, SPAN = STRIDE + 3 };
  Ending e;
  const int8_t *weight, *border;
  int64_t n, w, ow, left, x_pitch, y_pitch;
  const int8_t* from[BANDS][READ];
  int64_t mask[BANDS][READ];  // 0: a row beyond the image, all columns are its first
  int8_t* to[BANDS][ROWS];    // NULL: another band writes it
  __mmask64 some;
};

// Whether all rows are inside the image, all bands write, and channels fill the vector: then much need not be asked.
template <int M, int STRIDE>
TC_INLINE bool is_plain(const Slide<M, STRIDE>& t) {
  bool plain = t.n == 16 * M;
  for (int b = 0; b < t.BANDS; ++b) {
    for (int i = 0; i < t.READ; ++i) plain = plain && t.mask[b][i] != 0;
    for (int r = 0; r < t.ROWS; ++r) plain = plain && t.to[b][r] != nullptr;
  }
  return plain;
}

// Row i of a band at a column `at` bytes behind the first.
template <bool PLAIN, int M, int STRIDE>
TC_INLINE const int8_t* address_of(const Slide<M, STRIDE>& t, int band, int i, int64_t at) {
  return t.from[band % t.BANDS][i] + (PLAIN ? at : at & t.mask[band % t.BANDS][i]);
}

template <bool PLAIN, int M, int STRIDE>
TC_INLINE __m512i load_row(const Slide<M, STRIDE>& t, int i, int64_t at) {
  if constexpr (M == 4) {
    const int8_t* from = address_of<PLAIN>(t, 0, i, at);
    return PLAIN ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi8(t.some, from);
  } else if constexpr (M == 2) {
    const __mmask32 here = PLAIN ? ~0u : (__mmask32)t.some;
    const __m256i low = _mm256_maskz_loadu_epi8(here, address_of<PLAIN>(t, 0, i, at));
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_maskz_loadu_epi8(here, address_of<PLAIN>(t, 1, i, at)), 1);
  } else {
    const __mmask16 here = PLAIN ? 0xffff : (__mmask16)t.some;
    __m512i row = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(here, address_of<PLAIN>(t, 0, i, at)));
    row = _mm512_inserti32x4(row, _mm_maskz_loadu_epi8(here, address_of<PLAIN>(t, 1, i, at)), 1);
    row = _mm512_inserti32x4(row, _mm_maskz_loadu_epi8(here, address_of<PLAIN>(t, 2, i, at)), 2);
    return _mm512_inserti32x4(row, _mm_maskz_loadu_epi8(here, address_of<PLAIN>(t, 3, i, at)), 3);
  }
}

// Input column ix, which lies inside, as four planes of quads; a fourth row that nobody reads is the third.
template <bool PLAIN, int M, int STRIDE>
TC_INLINE void load_inside(const Slide<M, STRIDE>& t, int64_t ix, __m512i (&planes)[4]) {
  const __m512i flip = _mm512_set1_epi8((char)DOT_FLIP);
  __m512i rows[4];
#pragma GCC unroll 4
  for (int i = 0; i < t.READ; ++i) rows[i] = _mm512_xor_si512(load_row<PLAIN>(t, i, ix * t.x_pitch), flip);
  if constexpr (STRIDE != 1) rows[3] = rows[2];
  const __m512i a = _mm512_unpacklo_epi8(rows[0], rows[1]), b = _mm512_unpackhi_epi8(rows[0], rows[1]);
  const __m512i c = _mm512_unpacklo_epi8(rows[2], rows[3]), d = _mm512_unpackhi_epi8(rows[2], rows[3]);
  planes[0] = _mm512_unpacklo_epi16(a, c);
  planes[1] = _mm512_unpackhi_epi16(a, c);
  planes[2] = _mm512_unpacklo_epi16(b, d);
  planes[3] = _mm512_unpackhi_epi16(b, d);
}

template <bool PLAIN, int M, int STRIDE>
TC_INLINE void load_quads(const Slide<M, STRIDE>& t, int64_t ix, __m512i (&planes)[4]) {
  if (ix >= 0 && ix < t.w) return load_inside<PLAIN>(t, ix, planes);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) planes[j] = _mm512_xor_si512(_mm512_loadu_si512(t.border), _mm512_set1_epi8((char)DOT_FLIP));
}

// Row r of output column ox: s8 of four planes.
template <bool PLAIN, int M, int STRIDE>
TC_INLINE void store_row(const Slide<M, STRIDE>& t, int r, int64_t ox, __m512i bytes) {
  const int64_t at = ox * t.y_pitch, n = PLAIN ? 16 * M : t.n;
  if constexpr (M == 4) {
    if (PLAIN || t.to[0][r] != nullptr) d_put(t.to[0][r] + at, bytes, n);
  } else if constexpr (M == 2) {
    if (PLAIN || t.to[0][r] != nullptr) d_put(t.to[0][r] + at, _mm512_castsi512_si256(bytes), n);
    if (PLAIN || t.to[1][r] != nullptr) d_put(t.to[1][r] + at, _mm512_extracti64x4_epi64(bytes, 1), n);
  } else {
    const __m128i parts[4] = {_mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1), _mm512_extracti32x4_epi32(bytes, 2),
                              _mm512_extracti32x4_epi32(bytes, 3)};
#pragma GCC unroll 4
    for (int b = 0; b < t.BANDS; ++b) {
      if (PLAIN || t.to[b][r] != nullptr) d_put(t.to[b][r] + at, parts[b], n);
    }
  }
}

// Compilers would load a value again for each use, and begin with all planes at once, for which registers do not suffice.
TC_INLINE void keep(__m512i& value) { asm volatile("" : "+v"(value)); }

// Output columns ox and, if `both`, ox + 1 of the input columns that they read, plane by plane: what is loaded of a plane serves all four
// (stride 2: two) outputs, for instructions are what this is short of.
template <bool PLAIN, int M, int STRIDE>
TC_INLINE void filter_pair(const Slide<M, STRIDE>& t, int64_t ox, bool both, const __m512i (*const (&columns)[5])[4]) {
  enum { ROWS = Slide<M, STRIDE>::ROWS };
  __m512i whole[4][2][ROWS];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512 scale = t.e.scale[j];
#pragma GCC unroll 2
    for (int r = 0; r < ROWS; ++r) {
      const int8_t* from = t.weight + (r * 12 + j) * PIECE;
      __m512i taps[3];
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx) {
        taps[kx] = _mm512_loadu_si512(from + kx * 4 * PIECE);
        keep(taps[kx]);
      }
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        __m512i sum = _mm512_dpbusd_epi32(t.e.start[j], (*columns[i * STRIDE])[j], taps[0]);
        sum = _mm512_dpbusd_epi32(sum, (*columns[i * STRIDE + 1])[j], taps[1]);
        sum = _mm512_dpbusd_epi32(sum, (*columns[i * STRIDE + 2])[j], taps[2]);
        whole[j][i][r] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
        keep(whole[j][i][r]);
      }
    }
  }
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    if (i == 1 && !both) return;
#pragma GCC unroll 2
    for (int r = 0; r < ROWS; ++r) {
      const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(whole[0][i][r], whole[1][i][r]), t.e.zero);
      const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(whole[2][i][r], whole[3][i][r]), t.e.zero);
      store_row<PLAIN>(t, r, ox + i, _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), t.e.least), t.e.most));
    }
  }
}

template <bool PLAIN, int M>
TC_INLINE void slide_line(const Slide<M, 1>& t) {
  __m512i a[4], b[4], c[4], d[4];
  load_quads<PLAIN>(t, -t.left, a);
  load_quads<PLAIN>(t, 1 - t.left, b);
  int64_t ox = 0;
  if (t.left <= 2) {  // columns from 2 on are inside
    for (; ox + 5 - t.left < t.w && ox + 3 < t.ow; ox += 4) {
      load_inside<PLAIN>(t, ox + 2 - t.left, c);
      load_inside<PLAIN>(t, ox + 3 - t.left, d);
      filter_pair<PLAIN>(t, ox, true, {&a, &b, &c, &d, nullptr});
      load_inside<PLAIN>(t, ox + 4 - t.left, a);
      load_inside<PLAIN>(t, ox + 5 - t.left, b);
      filter_pair<PLAIN>(t, ox + 2, true, {&c, &d, &a, &b, nullptr});
    }
  }
  for (; ox < t.ow; ox += 2) {
    load_quads<PLAIN>(t, ox + 2 - t.left, c);
    load_quads<PLAIN>(t, ox + 3 - t.left, d);
    filter_pair<PLAIN>(t, ox, ox + 1 < t.ow, {&a, &b, &c, &d, nullptr});
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      a[j] = c[j];
      b[j] = d[j];
    }
  }
}

template <bool PLAIN, int M>
TC_INLINE void slide_line(const Slide<M, 2>& t) {
  __m512i a[4], b[4], c[4], d[4], e[4];
  load_quads<PLAIN>(t, -t.left, a);
  int64_t ox = 0;
  if (t.left <= 1) {  // columns from 1 on are inside
    for (; 2 * ox + 4 - t.left < t.w && ox + 1 < t.ow; ox += 2) {
      load_inside<PLAIN>(t, 2 * ox + 1 - t.left, b);
      load_inside<PLAIN>(t, 2 * ox + 2 - t.left, c);
      load_inside<PLAIN>(t, 2 * ox + 3 - t.left, d);
      load_inside<PLAIN>(t, 2 * ox + 4 - t.left, e);
      filter_pair<PLAIN>(t, ox, true, {&a, &b, &c, &d, &e});
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) a[j] = e[j];
    }
  }
  for (; ox < t.ow; ox += 2) {
    load_quads<PLAIN>(t, 2 * ox + 1 - t.left, b);
    load_quads<PLAIN>(t, 2 * ox + 2 - t.left, c);
    load_quads<PLAIN>(t, 2 * ox + 3 - t.left, d);
    load_quads<PLAIN>(t, 2 * ox + 4 - t.left, e);
    filter_pair<PLAIN>(t, ox, ox + 1 < t.ow, {&a, &b, &c, &d, &e});
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) a[j] = e[j];
  }
}

// What the bands from output row oy of image n on read and write, `rows` rows together.
template <int M, int STRIDE>
TC_INLINE void aim(Slide<M, STRIDE>& t, const QDepthwise& v, int64_t n, int64_t oy, int64_t rows, int64_t c) {
  for (int64_t band = 0; band < t.BANDS; ++band) {
    const int64_t first = oy + (band * t.ROWS < rows ? band * t.ROWS : 0);  // bands without rows do the first's again
    for (int64_t i = 0; i < t.READ; ++i) {
      const int64_t iy = first * STRIDE - v.p->pads[0] + i;
      const bool inside = iy >= 0 && iy < v.h;
      t.from[band][i] = inside ? (const int8_t*)v.x->data + n * v.x->strides[0] + iy * v.x->strides[1] + c : t.border;
      t.mask[band][i] = inside ? -1 : 0;
    }
    for (int64_t r = 0; r < t.ROWS; ++r) {
      const bool writes = band * t.ROWS + r < rows;
      t.to[band][r] = writes ? (int8_t*)v.y->data + n * v.y->strides[0] + (first + r) * v.y->strides[1] + c : nullptr;
    }
  }
}

// Output rows [begin, end) of all images, channels from c.
template <int M, int STRIDE>
void slide_rows(const QDepthwise& v, int64_t begin, int64_t end, int64_t c, void* scratch) {
  Slide<M, STRIDE> t = {};
  const Strip s = strip_of<M>(v, c, scratch);
  fill_weights<M>(s, t.ROWS);
  memset(s.data, (uint8_t)v.p->x_zero, 64);
  t.e = ending_of<M>(s);
  t.weight = s.weight;
  t.border = (const int8_t*)s.data;
  t.n = s.n;
  t.w = v.w;
  t.ow = v.ow;
  t.left = v.p->pads[1];
  t.x_pitch = v.x->strides[2];
  t.y_pitch = v.y->strides[2];
  t.some = s.n >= 64 ? ~0ull : ~0ull >> (64 - s.n);
  for (int64_t item = begin; item < end;) {
    const int64_t n = item / v.oh, oy = item % v.oh, most = t.BANDS * t.ROWS;
    const int64_t below = v.oh - oy < end - item ? v.oh - oy : end - item, rows = below < most ? below : most;
    aim(t, v, n, oy, rows, c);
    if (is_plain(t)) {
      slide_line<true>(t);
    } else {
      slide_line<false>(t);
    }
    item += rows;
  }
}

// Channels from c, 16 * M of them.
template <int M>
void filter_block(const QDepthwise& v, int64_t begin, int64_t end, int64_t c, void* scratch) {
  if (!slides(v)) {
    filter_rows<M>(v, begin, end, c, scratch);
  } else if (v.p->strides[0] == 1) {
    slide_rows<M, 1>(v, begin, end, c, scratch);
  } else {
    slide_rows<M, 2>(v, begin, end, c, scratch);
  }
}

}  // namespace

#endif
