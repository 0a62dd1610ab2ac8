// Panels of eight columns on x86. Broadcasting one element of A per eight-lane FMA is bound by loads, so two neighbouring k go into one
// 64-bit broadcast: lanes hold (even k, odd k) pairs of four columns, and the pairs are added at the end.
// Include simd/gemm_tile.h before.
#ifndef TIERCAST_SIMD_GEMM_PAIRS_H_
#define TIERCAST_SIMD_GEMM_PAIRS_H_

#include <immintrin.h>
#include <string.h>

namespace {

enum { PAIR_COLUMNS = 8, PAIR_ROWS = 6 };

// A panel [k][8], k even, to [k / 2][16]: columns 0 1 4 5 as pairs, then 2 3 6 7.
inline void pack_pairs(const float* b, int64_t k, float* to) {
  for (int64_t i = 0; i < k; i += 2, b += 16, to += 16) {
    const __m256 even = _mm256_loadu_ps(b), odd = _mm256_loadu_ps(b + 8);
    _mm256_storeu_ps(to, _mm256_unpacklo_ps(even, odd));
    _mm256_storeu_ps(to + 8, _mm256_unpackhi_ps(even, odd));
  }
}

TC_INLINE __m256 broadcast_pair(const float* p) {
  double pair;
  memcpy(&pair, p, sizeof(pair));
  return _mm256_castpd_ps(_mm256_set1_pd(pair));
}

template <int ROWS>
TC_NOINLINE void pair_kernel(const Rows& rows, const Slice& s) {
  enum { GROUPS = (ROWS + 2) / 3 };
  __m256 acc[ROWS][2];
  for (int r = 0; r < ROWS; ++r) acc[r][0] = acc[r][1] = _mm256_setzero_ps();
  const float* b = s.b;
  for (int64_t i = 0; i < rows.outer; ++i) {
    for (int64_t j = 0; j < rows.inner; ++j) {
      const float* a = rows.a + i * rows.outer_stride + j * rows.inner_stride;
      const float* p[GROUPS];
      for (int g = 0; g < GROUPS; ++g) p[g] = a + 3 * g * rows.lda;
      for (int64_t k = 0; k < rows.run; k += 2, b += 16) {
        const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma clang loop unroll(full)
        for (int r = 0; r < ROWS; ++r) {
          const __m256 x = broadcast_pair(p[r / 3] + (r % 3) * rows.lda);
          acc[r][0] = _mm256_fmadd_ps(x, b0, acc[r][0]);
          acc[r][1] = _mm256_fmadd_ps(x, b1, acc[r][1]);
        }
        for (int g = 0; g < GROUPS; ++g) p[g] += 2;
      }
    }
  }
  const __m256 lo = _mm256_set1_ps(s.lo), hi = _mm256_set1_ps(s.hi), bias = _mm256_loadu_ps(s.bias);
  for (int r = 0; r < ROWS; ++r) {
    __m256 sum = _mm256_add_ps(_mm256_hadd_ps(acc[r][0], acc[r][1]), bias);
    if (s.residual != nullptr) sum = _mm256_add_ps(sum, _mm256_loadu_ps(s.residual + r * s.ldr));
    _mm256_storeu_ps(s.c + r * s.ldc, _mm256_min_ps(hi, _mm256_max_ps(lo, sum)));
  }
}

template <int ROWS>
TC_INLINE void pair_rows(int mr, const Rows& rows, const Slice& s) {
  if constexpr (ROWS > 1) {
    if (mr < ROWS) return pair_rows<ROWS - 1>(mr, rows, s);
  }
  pair_kernel<ROWS>(rows, s);
}

// All rows of a tile, in even parts of at most PAIR_ROWS: more would not fit the 16 registers that short encodings reach.
inline void run_pairs(int mr, Rows rows, Slice s) {
  for (int parts = (mr + PAIR_ROWS - 1) / PAIR_ROWS; parts > 0; --parts) {
    const int count = (mr + parts - 1) / parts;
    pair_rows<PAIR_ROWS>(count, rows, s);
    mr -= count;
    rows.a += count * rows.lda;
    s.c += count * s.ldc;
    if (s.residual != nullptr) s.residual += count * s.ldr;
  }
}

}  // namespace

#endif
