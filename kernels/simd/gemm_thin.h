// GEMM blocks of at most three columns: vectors run along K, and each sum is reduced at its end. Include simd/gemm.h before.
#ifndef TIERCAST_SIMD_GEMM_THIN_H_
#define TIERCAST_SIMD_GEMM_THIN_H_

namespace {

// sums[r][j] = the dot product of A's row r with column j, `columns`[N][k], for ROWS rows.
template <int ROWS, int N>
TC_INLINE void thin_rows(const Rows& rows, const E* columns, int64_t k, float* sums) {
  V acc[ROWS][N];
  for (int r = 0; r < ROWS; ++r) {
    for (int j = 0; j < N; ++j) acc[r][j] = v_zero();
  }
  const E* b = columns;
  for (int64_t o = 0; o < rows.outer; ++o) {
    for (int64_t i = 0; i < rows.inner; ++i, b += rows.run) {
      const E* a = rows.a + o * rows.outer_stride + i * rows.inner_stride;
      int64_t at = 0;
      for (; at + VL <= rows.run; at += VL) {
        V bv[N];
        for (int j = 0; j < N; ++j) bv[j] = v_load(b + j * k + at);
        for (int r = 0; r < ROWS; ++r) {
          const V x = v_load(a + r * rows.lda + at);
          for (int j = 0; j < N; ++j) acc[r][j] = v_fma(x, bv[j], acc[r][j]);
        }
      }
      if (at == rows.run) continue;
      V bv[N];
      for (int j = 0; j < N; ++j) bv[j] = v_load_n(b + j * k + at, rows.run - at);
      for (int r = 0; r < ROWS; ++r) {
        const V x = v_load_n(a + r * rows.lda + at, rows.run - at);
        for (int j = 0; j < N; ++j) acc[r][j] = v_fma(x, bv[j], acc[r][j]);
      }
    }
  }
  for (int r = 0; r < ROWS; ++r) {
    for (int j = 0; j < N; ++j) sums[r * N + j] = v_reduce_add(acc[r][j]);
  }
}

template <int N>
TC_NOINLINE void thin_tile(const Rows& rows, int mr, const E* columns, int64_t k, float* sums) {
  enum { STEP = N == 1 ? 6 : N == 2 ? 4 : 3 };
  Rows part = rows;
  int r = 0;
  for (; r + STEP <= mr; r += STEP, part.a += STEP * rows.lda) thin_rows<STEP, N>(part, columns, k, sums + r * N);
  for (; r < mr; ++r, part.a += rows.lda) thin_rows<1, N>(part, columns, k, sums + r * N);
}

// All tiles of a block; p.n <= 3. `columns` has room for p.n * p.k elements.
inline void run_thin_block(const Product& p, const Tile* tiles, int count, E* columns) {
  const int64_t n = p.n, padded = padded_columns(n, p.granule);
  for (int64_t k = 0; k < p.k; ++k) {
    for (int64_t j = 0; j < n; ++j) columns[j * p.k + k] = p.b[packed_offset(k, j, p.k, padded, p.panel)];
  }
  const float lo = clamp_low(p.epilogue), hi = clamp_high(p.epilogue);
  const bool late = late_residual(p.epilogue.residual_mode);
  for (int t = 0; t < count; ++t) {
    const Tile& tile = tiles[t];
    float sums[MR * 3];
    if (n == 1) thin_tile<1>(tile.rows, tile.mr, columns, p.k, sums);
    if (n == 2) thin_tile<2>(tile.rows, tile.mr, columns, p.k, sums);
    if (n == 3) thin_tile<3>(tile.rows, tile.mr, columns, p.k, sums);
    for (int r = 0; r < tile.mr; ++r) {
      for (int64_t j = 0; j < n; ++j) {
        float x = sums[r * n + j] + p.bias[j];
        if (tile.residual != nullptr && !late) x += tile.residual[r * p.ldr + j];
        x = x < lo ? lo : x;
        tile.c[r * p.ldc + j] = x > hi ? hi : x;
      }
    }
    if (needs_finish(p.epilogue)) finish(p.epilogue, tile.mr, n, p.epilogue.slope, tile.residual, p.ldr, tile.c, p.ldc);
  }
}

}  // namespace

#endif
