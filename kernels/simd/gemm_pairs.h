// Panels of eight columns on x86. Broadcasting one element of A per eight-lane FMA is bound by loads, so two neighbouring k go into one
// 64-bit broadcast: lanes hold (even k, odd k) pairs of columns, and the pairs are added at the end. AVX-512 has all eight in one register.
// Include simd/gemm_tile.h before.
#ifndef TIERCAST_SIMD_GEMM_PAIRS_H_
#define TIERCAST_SIMD_GEMM_PAIRS_H_

#include <immintrin.h>
#include <string.h>

namespace {

enum { PAIR_COLUMNS = 8 };

// A panel [k][8], k even, to [k / 2][16]: columns 0 1 4 5 as pairs, then 2 3 6 7.
inline void pack_pairs(const float* b, int64_t k, float* to) {
  for (int64_t i = 0; i < k; i += 2, b += 16, to += 16) {
    const __m256 even = _mm256_loadu_ps(b), odd = _mm256_loadu_ps(b + 8);
    _mm256_storeu_ps(to, _mm256_unpacklo_ps(even, odd));
    _mm256_storeu_ps(to + 8, _mm256_unpackhi_ps(even, odd));
  }
}

TC_INLINE double pair_at(const float* p) {
  double pair;
  memcpy(&pair, p, sizeof(pair));
  return pair;
}

// The sums of one row.
#if defined(__AVX512F__)
enum { PAIR_ROWS = 12 };
typedef __m512 Pairs;  // of a packed panel, for two k
TC_INLINE Pairs load_pairs(const float* b) { return _mm512_loadu_ps(b); }
struct PairSums {
  __m512 at;

  TC_INLINE void clear() { at = _mm512_setzero_ps(); }
  TC_INLINE void add(const float* a, Pairs b) { at = _mm512_fmadd_ps(_mm512_castpd_ps(_mm512_set1_pd(pair_at(a))), b, at); }
  TC_INLINE __m256 total() const { return _mm256_hadd_ps(_mm512_castps512_ps256(at), _mm512_extractf32x8_ps(at, 1)); }
};
#else
enum { PAIR_ROWS = 6 };  // more would not fit 16 registers
struct Pairs {
  __m256 low, high;
};
TC_INLINE Pairs load_pairs(const float* b) { return {_mm256_loadu_ps(b), _mm256_loadu_ps(b + 8)}; }
struct PairSums {
  __m256 low, high;

  TC_INLINE void clear() { low = high = _mm256_setzero_ps(); }
  TC_INLINE void add(const float* a, Pairs b) {
    const __m256 x = _mm256_castpd_ps(_mm256_set1_pd(pair_at(a)));
    low = _mm256_fmadd_ps(x, b.low, low);
    high = _mm256_fmadd_ps(x, b.high, high);
  }
  TC_INLINE __m256 total() const { return _mm256_hadd_ps(low, high); }
};
#endif

template <int ROWS>
TC_NOINLINE void pair_kernel(const Rows& rows, const Slice& s) {
  enum { GROUPS = (ROWS + 2) / 3 };
  PairSums acc[ROWS];
  for (int r = 0; r < ROWS; ++r) acc[r].clear();
  const float* b = s.b;
  for (int64_t i = 0; i < rows.outer; ++i) {
    for (int64_t j = 0; j < rows.inner; ++j) {
      const float* a = rows.a + i * rows.outer_stride + j * rows.inner_stride;
      const float* p[GROUPS];
      for (int g = 0; g < GROUPS; ++g) p[g] = a + 3 * g * rows.lda;
      for (int64_t k = 0; k < rows.run; k += 2, b += 16) {
        const Pairs columns = load_pairs(b);
#pragma clang loop unroll(full)
        for (int r = 0; r < ROWS; ++r) acc[r].add(p[r / 3] + (r % 3) * rows.lda, columns);
        for (int g = 0; g < GROUPS; ++g) p[g] += 2;
      }
    }
  }
  const __m256 lo = _mm256_set1_ps(s.lo), hi = _mm256_set1_ps(s.hi), bias = _mm256_loadu_ps(s.bias);
  for (int r = 0; r < ROWS; ++r) {
    __m256 sum = _mm256_add_ps(acc[r].total(), bias);
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

// All rows of a tile, in even parts of at most PAIR_ROWS.
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
