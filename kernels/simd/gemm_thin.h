// GEMM blocks of at most three columns: vectors run along K, and each sum is reduced at its end. Include simd/gemm.h before.
#ifndef TIERCAST_SIMD_GEMM_THIN_H_
#define TIERCAST_SIMD_GEMM_THIN_H_

namespace {

// Rows of a tile, and its dot products before their lanes are added, at [row][column]; the surplus lets v_store_sums read whole groups.
enum { THIN_ROWS = 4 * MR, THIN_SUMS = THIN_ROWS * 3 + VL };

// acc[r][j] = A's row r times column j lane by lane, `columns`[N][k], for ROWS rows.
template <int ROWS, int N>
TC_INLINE void thin_rows(const Rows& rows, const E* columns, int64_t k, V* sums) {
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
    for (int j = 0; j < N; ++j) sums[r * N + j] = acc[r][j];
  }
}

// sums[r * N + j] of all rows of a tile. The last group of rows may overlap the one before.
template <int N>
TC_NOINLINE void thin_tile(const Rows& rows, int mr, const E* columns, int64_t k, float* sums) {
  enum { STEP = N == 1 ? 6 : N == 2 ? 4 : 3 };
  V lanes[THIN_SUMS];
  for (int i = mr * N; i < mr * N + VL; ++i) lanes[i] = v_zero();
  Rows part = rows;
  for (int r = 0; r < mr;) {
    part.a = rows.a + r * rows.lda;
    if (mr < STEP) {
      thin_rows<1, N>(part, columns, k, lanes + r * N);
      r += 1;
    } else {
      thin_rows<STEP, N>(part, columns, k, lanes + r * N);
      r = r + STEP == mr || r + 2 * STEP <= mr ? r + STEP : mr - STEP;
    }
  }
  for (int i = 0; i < mr * N; i += VL) v_store_sums(sums + i, lanes + i);
}

// Bias, early residual and clamp, and the sums go to their place.
template <int N>
TC_INLINE void store_thin(const Product& p, const Tile& tile, const float* sums) {
  const float lo = clamp_low(p.epilogue), hi = clamp_high(p.epilogue);
  const bool early = tile.residual != nullptr && !late_residual(p.epilogue.residual_mode);
  for (int r = 0; r < tile.mr; ++r) {
    for (int j = 0; j < N; ++j) {
      float x = sums[r * N + j] + p.bias[j];
      if (early) x += tile.residual[r * p.ldr + j];
      x = x < lo ? lo : x;
      tile.c[r * p.ldc + j] = x > hi ? hi : x;
    }
  }
}

template <int N>
inline void run_thin_tiles(const Product& p, const Tile* tiles, int count, const E* columns) {
  for (int t = 0; t < count; ++t) {
    const Tile& tile = tiles[t];
    float sums[THIN_SUMS];
    thin_tile<N>(tile.rows, tile.mr, columns, p.k, sums);
    store_thin<N>(p, tile, sums);
    if (needs_finish(p.epilogue)) finish(p.epilogue, tile.mr, N, p.epilogue.slope, tile.residual, p.ldr, tile.c, p.ldc);
  }
}

// All tiles of a block; p.n <= 3. `columns` has room for p.n * p.k elements.
inline void run_thin_block(const Product& p, const Tile* tiles, int count, E* columns) {
  const int64_t padded = padded_columns(p.n, p.granule);
  for (int64_t j = 0; j < p.n; ++j) {
    const int64_t first = packed_offset(0, j, p.k, padded, p.panel), step = packed_offset(1, j, p.k, padded, p.panel) - first;
    for (int64_t k = 0; k < p.k; ++k) columns[j * p.k + k] = p.b[first + k * step];
  }
  if (p.n == 1) run_thin_tiles<1>(p, tiles, count, columns);
  if (p.n == 2) run_thin_tiles<2>(p, tiles, count, columns);
  if (p.n == 3) run_thin_tiles<3>(p, tiles, count, columns);
}

}  // namespace

#endif
