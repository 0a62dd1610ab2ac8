// The AVX512-VNNI row of quantized_depthwise_conv2d. M lanes of 16 channels make a unit, 4 / M columns a vector.
//
// A strip has four planes for each quad of filter rows: plane j holds channels 4j..4j+3 of every lane, four rows of each. In a plane stand
// the columns x, x + stride, x + 2 * stride... for x = 0, then for x = 1...: what outputs side by side read of one tap is contiguous. Where
// the filter leaves rows of its quads free, output rows below read the same strip with weights that stand further down.
#ifndef TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_STRIP_H_
#define TIERCAST_QUANTIZED_DEPTHWISE_CONV2D_STRIP_H_

#include "quantized_depthwise_conv2d/quantized_depthwise_conv2d.h"

namespace {

enum { PIECE = 64 };

// Channels [c, c + n) of one output row.
struct Strip {
  const QDepthwise* v;
  int64_t c, n;
  int64_t per, plane;  // columns of one residue, bytes of a plane
  uint8_t* data;       // [quads][4][plane]
  int8_t* weight;      // [rows][kw][quads][4][PIECE], lanes as in a plane
};

// Output rows that one strip serves.
inline int64_t rows_of_strip(const QDepthwise& v) {
  if (v.p->dilations[0] != 1) return 1;
  const int64_t rows = (v.quads * 4 - v.p->kernel[0]) / v.p->strides[0] + 1;
  return rows < QDW_ROWS ? rows : QDW_ROWS;
}

template <int M>
inline Strip strip_of(const QDepthwise& v, int64_t c, void* scratch) {
  const int64_t stride = v.p->strides[1], columns = 4 / M;
  Strip s = {&v, c, v.c - c < 16 * M ? v.c - c : 16 * M};
  s.per = ((v.span + stride - 1) / stride + columns - 1) / columns * columns;
  s.plane = (s.per * stride + columns) * 16 * M;
  s.weight = (int8_t*)scratch;
  s.data = (uint8_t*)scratch + QDW_ROWS * v.p->kernel[1] * v.quads * 4 * PIECE;
  return s;
}

// The 16 elements of 4 bytes of each of M channel blocks (the last block where there are fewer) as four vectors: lane l of vector j holds
// elements 4j..4j+3 of block l mod M.
template <int M>
TC_INLINE void lanes_of(const Strip& s, const void* base, int64_t block_bytes, __m512i (&planes)[4]) {
  const int64_t first = s.c / QDW_LANES, last = s.v->blocks - 1;
  __m512i block[4];
#pragma GCC unroll 4
  for (int l = 0; l < M; ++l) block[l] = _mm512_loadu_si512((const char*)base + (first + l < last ? first + l : last) * block_bytes);
  if constexpr (M == 1) block[1] = block[2] = block[3] = block[0];
  if constexpr (M == 2) {
    block[2] = block[0];
    block[3] = block[1];
  }
  // Four times four lanes are transposed.
  const __m512i a = _mm512_shuffle_i32x4(block[0], block[1], 0x44), b = _mm512_shuffle_i32x4(block[2], block[3], 0x44);
  const __m512i c = _mm512_shuffle_i32x4(block[0], block[1], 0xee), d = _mm512_shuffle_i32x4(block[2], block[3], 0xee);
  planes[0] = _mm512_shuffle_i32x4(a, b, 0x88);
  planes[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
  planes[2] = _mm512_shuffle_i32x4(c, d, 0x88);
  planes[3] = _mm512_shuffle_i32x4(c, d, 0xdd);
}

// Those of filter column kx for an output row that reads the same strip `down` rows further: shifted through the quads of each lane.
inline void shift_weights(const Strip& s, int64_t kx, int64_t down, int8_t* to) {
  const int64_t quads = s.v->quads, skip = down / 4;
  if (quads == 1 && skip == 0) {
    for (int j = 0; j < 4; ++j) {
      const __m512i here = _mm512_loadu_si512(s.weight + (kx * 4 + j) * PIECE);
      _mm512_storeu_si512(to + (kx * 4 + j) * PIECE, _mm512_sll_epi32(here, _mm_cvtsi64_si128(down * 8)));
    }
    return;
  }
  const __m128i up = _mm_cvtsi64_si128(down % 4 * 8), back = _mm_cvtsi64_si128(32 - down % 4 * 8);  // a shift by 32 gives zeros
  for (int64_t q = 0; q < quads; ++q) {
    for (int j = 0; j < 4; ++j) {
      const int8_t* from = s.weight + ((kx * quads + q - skip) * 4 + j) * PIECE;
      const __m512i here = q >= skip ? _mm512_sll_epi32(_mm512_loadu_si512(from), up) : _mm512_setzero_si512();
      const __m512i before = q > skip ? _mm512_srl_epi32(_mm512_loadu_si512(from - 4 * PIECE), back) : _mm512_setzero_si512();
      _mm512_storeu_si512(to + ((kx * quads + q) * 4 + j) * PIECE, _mm512_or_si512(here, before));
    }
  }
}

template <int M>
TC_INLINE void fill_weights(const Strip& s, int64_t rows) {
  const int64_t quads = s.v->quads, taps = s.v->p->kernel[1] * quads;
  for (int64_t tap = 0; tap < taps; ++tap) {
    __m512i planes[4];
    lanes_of<M>(s, s.v->weight + tap * PIECE, taps * PIECE, planes);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) _mm512_storeu_si512(s.weight + (tap * 4 + j) * PIECE, planes[j]);
  }
  for (int64_t row = 1; row < rows; ++row) {
    for (int64_t kx = 0; kx < s.v->p->kernel[1]; ++kx) shift_weights(s, kx, row * s.v->p->strides[0], s.weight + row * taps * 4 * PIECE);
  }
}

// One row of 4 / M columns, `step` pixels apart from ix; the zero point outside the image.
template <int M>
TC_INLINE __m512i load_columns(const Strip& s, const int8_t* line, int64_t ix, int64_t step, __mmask64 some) {
  const int64_t pitch = s.v->x->strides[2], w = s.v->w;
  const __m512i border = _mm512_set1_epi8((char)s.v->p->x_zero);
  if (line == nullptr) return border;
  if constexpr (M == 4) return ix >= 0 && ix < w ? _mm512_maskz_loadu_epi8(some, line + ix * pitch) : border;
  constexpr int columns = 4 / M;
  const bool inside = ix >= 0 && ix + (columns - 1) * step < w;
  if (inside && step == 1 && pitch == 16 * M) return _mm512_loadu_si512(line + ix * pitch);
  __m128i lane[4];
#pragma GCC unroll 4
  for (int l = 0; l < 4; ++l) {
    const int64_t at = ix + l / M * step;
    const __mmask16 here = (__mmask16)(some >> (l % M * 16));
    lane[l] = at >= 0 && at < w ? _mm_maskz_loadu_epi8(here, line + at * pitch + l % M * 16) : _mm512_castsi512_si128(border);
  }
  const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(lane[0]), lane[1], 1);
  const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(lane[2]), lane[3], 1);
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// Four rows of some columns, interleaved, into the four planes.
TC_INLINE void put_quads(const Strip& s, const __m512i (&rows)[4], uint8_t* to) {
  const __m512i flip = _mm512_set1_epi8((char)DOT_FLIP);
  const __m512i a = _mm512_unpacklo_epi8(rows[0], rows[1]), b = _mm512_unpackhi_epi8(rows[0], rows[1]);
  const __m512i c = _mm512_unpacklo_epi8(rows[2], rows[3]), d = _mm512_unpackhi_epi8(rows[2], rows[3]);
  _mm512_storeu_si512(to, _mm512_xor_si512(_mm512_unpacklo_epi16(a, c), flip));
  _mm512_storeu_si512(to + s.plane, _mm512_xor_si512(_mm512_unpackhi_epi16(a, c), flip));
  _mm512_storeu_si512(to + 2 * s.plane, _mm512_xor_si512(_mm512_unpacklo_epi16(b, d), flip));
  _mm512_storeu_si512(to + 3 * s.plane, _mm512_xor_si512(_mm512_unpackhi_epi16(b, d), flip));
}

// Columns [at, end) of a residue, all inside the image; rows outside of it are `border`.
TC_INLINE void put_inside(const Strip& s, const int8_t* const (&lines)[4], int64_t at, int64_t end, int64_t first, const int8_t* border,
                          uint8_t* to) {
  const __mmask64 some = s.n >= 64 ? ~0ull : ~0ull >> (64 - s.n);
  const int64_t step = s.v->p->strides[1] * s.v->x->strides[2];
  const int8_t* from[4];
  int64_t steps[4];
  for (int i = 0; i < 4; ++i) {
    from[i] = lines[i] == nullptr ? border : lines[i] + first * s.v->x->strides[2];
    steps[i] = lines[i] == nullptr ? 0 : step;
  }
  for (; at < end; ++at, to += PIECE) {
    __m512i rows[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      rows[i] = _mm512_maskz_loadu_epi8(some, from[i]);
      from[i] += steps[i];
    }
    put_quads(s, rows, to);
  }
}

template <int M>
void fill_strip(const Strip& s, const int8_t* image, int64_t oy) {
  const QDepthwise& v = *s.v;
  const int64_t stride = v.p->strides[1], columns = 4 / M, residues = stride < v.span ? stride : v.span;
  const __mmask64 some = s.n >= 64 ? ~0ull : ~0ull >> (64 - s.n);
  alignas(64) int8_t border[64];
  memset(border, v.p->x_zero, 64);
  for (int64_t q = 0; q < v.quads; ++q) {
    const int8_t* lines[4];
    for (int64_t i = 0; i < 4; ++i) {
      const int64_t ky = 4 * q + i, iy = oy * v.p->strides[0] - v.p->pads[0] + ky * v.p->dilations[0];
      lines[i] = iy >= 0 && iy < v.h ? image + iy * v.x->strides[1] + s.c : nullptr;
    }
    for (int64_t residue = 0; residue < residues; ++residue) {
      uint8_t* to = s.data + q * 4 * s.plane + residue * s.per * 16 * M;
      for (int64_t at = 0; at < s.per; at += columns, to += PIECE) {
        const int64_t ix = at * stride + residue - v.p->pads[1];
        if (M == 4 && ix >= 0 && ix < v.w) {
          const int64_t inside = (v.w - 1 - ix) / stride + 1, end = at + inside < s.per ? at + inside : s.per;
          put_inside(s, lines, at, end, ix, border, to);
          to += (end - at - 1) * PIECE;
          at = end - 1;
          continue;
        }
        __m512i rows[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) rows[i] = load_columns<M>(s, lines[i], ix, stride, some);
        put_quads(s, rows, to);
      }
    }
  }
}

// What stays the same along an output row.
struct Ending {
  __m512i start[4];
  __m512 scale[4], high;
  __m512i zero, least, most;
};

template <int M>
TC_INLINE Ending ending_of(const Strip& s) {
  Ending e;
  const Limits& to = s.v->to;
  __m512i bias[4], sums[4], scale[4];
  lanes_of<M>(s, s.v->bias, QDW_LANES * 4, bias);
  lanes_of<M>(s, s.v->sums, QDW_LANES * 4, sums);
  lanes_of<M>(s, s.v->scale, QDW_LANES * 4, scale);
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    e.start[j] = _mm512_sub_epi32(bias[j], _mm512_slli_epi32(sums[j], 7));
    e.scale[j] = _mm512_castsi512_ps(scale[j]);
  }
  e.high = _mm512_set1_ps((float)(to.high - to.zero));
  e.zero = _mm512_set1_epi16((short)to.zero);
  e.least = _mm512_set1_epi8((char)to.low);
  e.most = _mm512_set1_epi8((char)to.high);
  return e;
}

// s8 of four planes' sums: packing puts the channels of each lane in order. Sums below s32's range of reals end as the least value.
TC_INLINE __m512i narrowed(const Ending& e, const __m512i (&sums)[4]) {
  __m512i whole[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    whole[j] = _mm512_cvtps_epi32(_mm512_min_ps(e.high, _mm512_mul_ps(_mm512_cvtepi32_ps(sums[j]), e.scale[j])));
  }
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(whole[0], whole[1]), e.zero);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(whole[2], whole[3]), e.zero);
  return _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), e.least), e.most);
}

// Stores the first `count` of a vector's columns.
template <int M>
TC_INLINE void store_columns(const Strip& s, const Ending& e, const __m512i (&sums)[4], int64_t at, int64_t count) {
  const tc_view& y = *s.v->y;
  if (y.dtype == TC_S8) {
    const __m512i bytes = narrowed(e, sums);
    int8_t* to = (int8_t*)y.data + at + s.c;
    if constexpr (M == 4) {
      d_put(to, bytes, s.n);
    } else if constexpr (M == 2) {
      const __m256i first = _mm512_castsi512_si256(bytes), second = _mm512_extracti64x4_epi64(bytes, 1);
      if (s.n == 32) {
        _mm256_storeu_si256((__m256i*)to, first);
        if (count > 1) _mm256_storeu_si256((__m256i*)(to + y.strides[2]), second);
      } else {
        const __mmask32 some = ~0u >> (32 - s.n);
        _mm256_mask_storeu_epi8(to, some, first);
        if (count > 1) _mm256_mask_storeu_epi8(to + y.strides[2], some, second);
      }
    } else {
      __m128i parts[4] = {_mm512_castsi512_si128(bytes), _mm512_extracti32x4_epi32(bytes, 1), _mm512_extracti32x4_epi32(bytes, 2),
                          _mm512_extracti32x4_epi32(bytes, 3)};
      for (int64_t p = 0; p < count; ++p) d_put(to + p * y.strides[2], parts[p], s.n);
    }
    return;
  }
  // Lane l of a plane: four channels of column l / M.
  __m512i values[4];
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    values[j] = y.dtype == TC_S32 ? sums[j] : _mm512_castps_si512(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[j]), e.scale[j]));
  }
  int32_t all[4][16];
  for (int j = 0; j < 4; ++j) _mm512_storeu_si512(all[j], values[j]);
  for (int64_t p = 0; p < count; ++p) {
    int32_t* to = (int32_t*)y.data + at + p * y.strides[2] + s.c;
    for (int64_t c = 0; c < s.n; c += 4) {
      const int32_t* from = all[c % 16 / 4] + (p * M + c / 16) * 4;
      memcpy(to + c, from, s.n - c >= 4 ? 16 : (size_t)(s.n - c) * 4);
    }
  }
}

// A vector of columns from output ox on, of ROWS output rows that read the same strip: what is loaded of it serves all of them.
template <int M, int ROWS>
TC_INLINE void filter_columns(const Strip& s, const Ending& e, int64_t ox, int64_t line) {
  const QDepthwise& v = *s.v;
  const int64_t stride = v.p->strides[1], columns = 4 / M, row_bytes = v.p->kernel[1] * v.quads * 4 * PIECE;
  __m512i sums[ROWS][4];
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; ++r) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sums[r][j] = e.start[j];
  }
  const int8_t* weight = s.weight;
  int64_t residue = 0, first = ox;  // of the tap's column: reach = kx * dilation is (first - ox) * stride + residue
  for (int64_t kx = 0; kx < v.p->kernel[1]; ++kx) {
    const uint8_t* from = s.data + (residue * s.per + first) * 16 * M;
    for (residue += v.p->dilations[1]; residue >= stride; residue -= stride) ++first;
    for (int64_t q = 0; q < v.quads; ++q, from += 4 * s.plane, weight += 4 * PIECE) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m512i column = _mm512_loadu_si512(from + j * s.plane);
#pragma GCC unroll 4
        for (int r = 0; r < ROWS; ++r) {
          sums[r][j] = _mm512_dpbusd_epi32(sums[r][j], column, _mm512_loadu_si512(weight + r * row_bytes + j * PIECE));
        }
      }
    }
  }
  const int64_t left = v.ow - ox;
#pragma GCC unroll 4
  for (int r = 0; r < ROWS; ++r) {
    store_columns<M>(s, e, sums[r], line + r * v.y->strides[1] + ox * v.y->strides[2], left < columns ? left : columns);
  }
}

template <int M, int ROWS>
TC_NOINLINE void filter_lines(const Strip& s, const Ending& e, int64_t line) {
  for (int64_t ox = 0; ox < s.v->ow; ox += 4 / M) filter_columns<M, ROWS>(s, e, ox, line);
}

// Output rows [begin, end) of all images, channels from c.
template <int M>
void filter_rows(const QDepthwise& v, int64_t begin, int64_t end, int64_t c, void* scratch) {
  const Strip s = strip_of<M>(v, c, scratch);
  const int64_t most = rows_of_strip(v);
  fill_weights<M>(s, most < end - begin ? most : end - begin);
  const Ending e = ending_of<M>(s);
  for (int64_t item = begin; item < end;) {
    const int64_t n = item / v.oh, oy = item % v.oh, line = n * v.y->strides[0] + oy * v.y->strides[1];
    const int64_t below = v.oh - oy < end - item ? v.oh - oy : end - item, rows = below < most ? below : most;
    fill_strip<M>(s, (const int8_t*)v.x->data + n * v.x->strides[0], oy);
    switch (rows) {
      case 4:
        filter_lines<M, 4>(s, e, line);
        break;
      case 3:
        filter_lines<M, 3>(s, e, line);
        break;
      case 2:
        filter_lines<M, 2>(s, e, line);
        break;
      default:
        filter_lines<M, 1>(s, e, line);
    }
    item += rows;
  }
}

}  // namespace

#endif
