// Running statistics per channel, which normalisation takes of its input. Include one ISA's header before.
//
// A band of pixels has three rows of `channels` floats: number of pixels, mean, and sum of squared distances from the mean. Rows are summed
// as distances from the mean so far and joined by Chan's formula (Chan, Golub, LeVeque 1979): a large mean costs no precision, and what a
// far chunk loses to cancellation is small beside its distance from the others. Only a band's first rows need a pass for their mean.
#ifndef TIERCAST_SIMD_STATISTICS_H_
#define TIERCAST_SIMD_STATISTICS_H_

#include "simd/kernel_row.h"

namespace {

enum { BAND_COUNT = 0, BAND_MEAN, BAND_DISTANCE };
enum { BAND_CHUNK = 4096 };  // floats of rows joined at a time: few enough that whole cache lines are still in L1
enum { BAND_FIRST_ROWS = 8 };

// A band at the first of its channels that is worked on, `pitch` floats from row to row; it has `before` pixels already.
struct Band {
  float* at;
  int64_t pitch, before;
};

// Joins `rows` pixels of one vector of channels, the `at`-th and following of the band, whose distances from `middle`, the band's mean so
// far or any value if it is empty, and their squares are summed.
template <bool PARTIAL>
TC_INLINE void join_sums(const Band& band, int64_t at, V middle, V sum, V squares, int64_t rows, int64_t left) {
  const float whole = static_cast<float>(band.before + rows), part = static_cast<float>(rows) / whole;
  const auto write = [&](int row, V value) TC_LAMBDA_INLINE {
    float* to = band.at + row * band.pitch + at;
    PARTIAL ? v_store_n(to, value, left) : v_store(to, value);
  };
  // Distances from the chunk's own mean, which is d away from the one so far, then from the joint mean.
  const V d = v_mul(sum, v_set1(1.0f / static_cast<float>(rows)));
  V distance = v_max(v_zero(), v_fma(v_neg(d), sum, squares));
  if (band.before > 0) {
    const float* old = band.at + BAND_DISTANCE * band.pitch + at;
    distance = v_fma(v_mul(d, d), v_set1(static_cast<float>(band.before) * part), distance);
    distance = v_add(distance, PARTIAL ? v_load_n(old, left) : v_load(old));
  }
  write(BAND_COUNT, v_set1(whole));
  write(BAND_MEAN, v_fma(d, v_set1(part), middle));
  write(BAND_DISTANCE, distance);
}

// Joins `rows` rows of WIDE vectors (`left` lanes of one when PARTIAL) to the band. Narrow ones keep several sums, as adds wait for each
// other.
template <int WIDE, bool PARTIAL>
TC_NOINLINE void join_rows(const Band& band, const float* x, int64_t pitch, int64_t rows, int64_t left) {
  enum { SETS = 4 / WIDE };
  const auto read = [&](const float* p) TC_LAMBDA_INLINE { return PARTIAL ? v_load_n(p, left) : v_load(p); };
  V sum[SETS][WIDE], squares[SETS][WIDE], middle[WIDE];
  const auto pass = [&]() TC_LAMBDA_INLINE {
    for (int s = 0; s < SETS; ++s) {
      for (int k = 0; k < WIDE; ++k) sum[s][k] = squares[s][k] = v_zero();
    }
    const float* p = x;
    const auto add = [&](int s) TC_LAMBDA_INLINE {
      for (int k = 0; k < WIDE; ++k) {
        const V d = v_sub(read(p + k * VL), middle[k]);
        sum[s][k] = v_add(sum[s][k], d);
        squares[s][k] = v_fma(d, d, squares[s][k]);
      }
      p += pitch;
    };
    int64_t r = 0;
    for (; r + SETS <= rows; r += SETS) {
      for (int s = 0; s < SETS; ++s) add(s);
    }
    for (; r < rows; ++r) add(0);
    for (int s = 1; s < SETS; ++s) {
      for (int k = 0; k < WIDE; ++k) {
        sum[0][k] = v_add(sum[0][k], sum[s][k]);
        squares[0][k] = v_add(squares[0][k], squares[s][k]);
      }
    }
  };
  const V share = v_set1(1.0f / static_cast<float>(rows));
  for (int k = 0; k < WIDE; ++k) middle[k] = band.before > 0 ? read(band.at + BAND_MEAN * band.pitch + k * VL) : v_zero();
  if (band.before == 0) {
    pass();
    for (int k = 0; k < WIDE; ++k) middle[k] = v_mul(sum[0][k], share);
  }
  pass();
  for (int k = 0; k < WIDE; ++k) join_sums<PARTIAL>(band, k * VL, middle[k], sum[0][k], squares[0][k], rows, left);
}

// Joins `rows` pixels of `columns` channels, `pitch` floats from pixel to pixel, to a band.
TC_NOINLINE void add_statistics(Band band, const float* x, int64_t pitch, int64_t rows, int64_t columns) {
  const int64_t fit = columns < BAND_CHUNK / BAND_FIRST_ROWS ? BAND_CHUNK / columns : (int64_t)BAND_FIRST_ROWS;
  for (int64_t from = 0; from < rows;) {
    const int64_t most = band.before == 0 ? (int64_t)BAND_FIRST_ROWS : fit, count = rows - from < most ? rows - from : most;
    const float* p = x + from * pitch;
    Band part = band;
    int64_t left = columns;
    const auto advance = [&](int vectors) TC_LAMBDA_INLINE {
      p += vectors * VL;
      part.at += vectors * VL;
      left -= vectors * VL;
    };
    for (; left >= 4 * VL; advance(4)) join_rows<4, false>(part, p, pitch, count, 0);
    if (left >= 2 * VL) {
      join_rows<2, false>(part, p, pitch, count, 0);
      advance(2);
    }
    if (left >= VL) {
      join_rows<1, false>(part, p, pitch, count, 0);
      advance(1);
    }
    if (left > 0) join_rows<1, true>(part, p, pitch, count, left);
    band.before += count;
    from += count;
  }
}

}  // namespace

#endif
