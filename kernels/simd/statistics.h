// Running statistics per channel, which normalisation takes from whoever has its input in cache. Include one ISA's header before.
//
// A band of pixels has three rows of `channels` floats: number of pixels, mean, and sum of squared distances from the mean. Rows of pixels
// are summed in two passes while they lie in L1 and joined by Chan's formula (Chan, Golub, LeVeque 1979), so a large mean costs no
// precision.
#ifndef TIERCAST_SIMD_STATISTICS_H_
#define TIERCAST_SIMD_STATISTICS_H_

#include "simd/kernel_row.h"

namespace {

enum { BAND_COUNT = 0, BAND_MEAN, BAND_DISTANCE };
enum { BAND_CHUNK = 4096 };  // floats that two passes find in L1

// A band at the first of its channels that is worked on, `pitch` floats from row to row; it has `before` pixels already.
struct Band {
  float* at;
  int64_t pitch, before;
};

// Joins `rows` rows of WIDE vectors (the last `left` lanes of it when PARTIAL) to the band. Narrow ones keep several sums, as adds wait for
// each other.
template <int WIDE, bool PARTIAL>
TC_NOINLINE void join_rows(const Band& band, const float* x, int64_t pitch, int64_t rows, int64_t left) {
  enum { SETS = 4 / WIDE };
  const auto read = [&](const float* p) TC_LAMBDA_INLINE { return PARTIAL ? v_load_n(p, left) : v_load(p); };
  V sum[SETS][WIDE], mean[WIDE];
  const auto pass = [&](auto add) TC_LAMBDA_INLINE {
    for (int s = 0; s < SETS; ++s) {
      for (int k = 0; k < WIDE; ++k) sum[s][k] = v_zero();
    }
    const float* p = x;
    int64_t r = 0;
    for (; r + SETS <= rows; r += SETS) {
      for (int s = 0; s < SETS; ++s, p += pitch) {
        for (int k = 0; k < WIDE; ++k) sum[s][k] = add(sum[s][k], read(p + k * VL), k);
      }
    }
    for (; r < rows; ++r, p += pitch) {
      for (int k = 0; k < WIDE; ++k) sum[0][k] = add(sum[0][k], read(p + k * VL), k);
    }
    for (int s = 1; s < SETS; ++s) {
      for (int k = 0; k < WIDE; ++k) sum[0][k] = v_add(sum[0][k], sum[s][k]);
    }
  };
  pass([](V total, V value, int) TC_LAMBDA_INLINE { return v_add(total, value); });
  for (int k = 0; k < WIDE; ++k) mean[k] = v_mul(sum[0][k], v_set1(1.0f / static_cast<float>(rows)));
  pass([&](V total, V value, int k) TC_LAMBDA_INLINE {
    const V d = v_sub(value, mean[k]);
    return v_fma(d, d, total);
  });
  const float whole = static_cast<float>(band.before + rows), part = static_cast<float>(rows) / whole;
  for (int k = 0; k < WIDE; ++k) {
    const auto write = [&](int row, V value) TC_LAMBDA_INLINE {
      float* to = band.at + row * band.pitch + k * VL;
      PARTIAL ? v_store_n(to, value, left) : v_store(to, value);
    };
    V distance = sum[0][k];
    if (band.before > 0) {
      const V old = read(band.at + BAND_MEAN * band.pitch + k * VL), d = v_sub(mean[k], old);
      distance = v_fma(v_mul(d, d), v_set1(static_cast<float>(band.before) * part), distance);
      distance = v_add(distance, read(band.at + BAND_DISTANCE * band.pitch + k * VL));
      mean[k] = v_fma(d, v_set1(part), old);
    }
    write(BAND_COUNT, v_set1(whole));
    write(BAND_MEAN, mean[k]);
    write(BAND_DISTANCE, distance);
  }
}

// Joins `rows` pixels of `columns` channels, `pitch` floats from pixel to pixel, to a band.
TC_NOINLINE void add_statistics(Band band, const float* x, int64_t pitch, int64_t rows, int64_t columns) {
  const int64_t fit = BAND_CHUNK / (columns < 4 * VL ? columns : pitch < BAND_CHUNK / 8 ? pitch : BAND_CHUNK / 8);
  for (int64_t from = 0; from < rows; from += fit) {
    const int64_t count = rows - from < fit ? rows - from : fit;
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
  }
}

}  // namespace

#endif
