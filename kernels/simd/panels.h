// The packed format of a GEMM's right-hand side, which every row of every ISA reads.
//
// B[K][N] is cut into panels of columns: greedily the widest of {panel, panel/2, ..., granule} that still fits into what is left of N
// rounded up to `granule`. Panels follow each other, each stored [K][width], zero in the columns beyond N. So panel 32 and granule 8
// store 24 columns as 16 + 8, and 5 as 8. Bias and slope are padded to the same number of columns.
#ifndef TIERCAST_SIMD_PANELS_H_
#define TIERCAST_SIMD_PANELS_H_

#include <stdint.h>

namespace {

inline bool valid_panels(int32_t panel, int32_t granule) {
  const bool powers = panel > 0 && granule > 0 && (panel & (panel - 1)) == 0 && (granule & (granule - 1)) == 0;
  return powers && granule <= panel && panel <= 64;
}

inline int64_t padded_columns(int64_t n, int32_t granule) { return (n + granule - 1) / granule * granule; }

// Width of the panel that starts at `column`.
inline int32_t panel_width(int64_t column, int64_t padded, int32_t panel) {
  int32_t width = panel;
  while (width > padded - column) width /= 2;
  return width;
}

// Number of panels of N columns (already padded).
inline int64_t panel_count(int64_t padded, int32_t panel) {
  const int64_t rest = padded % panel;
  return padded / panel + __builtin_popcountll((unsigned long long)rest);
}

// First column of the i-th panel: whole panels come first, then one per set bit of the rest, from the highest.
inline int64_t panel_start(int64_t index, int64_t padded, int32_t panel) {
  const int64_t whole = padded / panel;
  if (index <= whole) return index * panel;
  int64_t column = whole * panel;
  for (int64_t i = whole; i < index; ++i) column += panel_width(column, padded, panel);
  return column;
}

// Element (k, n) of B packed with K rows: for reference loops.
inline int64_t packed_offset(int64_t k, int64_t n, int64_t rows, int64_t padded, int32_t panel) {
  int64_t column = 0;
  int32_t width = panel_width(0, padded, panel);
  while (n >= column + width) {
    column += width;
    width = panel_width(column, padded, panel);
  }
  return rows * column + k * width + (n - column);
}

// Of a gated right-hand side, whose panels hold features in their first half and as many gates in the second: the packed column of feature
// n; its gate's is `half` further.
inline int64_t feature_column(int64_t n, int64_t padded, int32_t panel, int64_t* half) {
  int64_t column = 0;
  int32_t width = panel_width(0, padded, panel);
  while (2 * n >= column + width) {
    column += width;
    width = panel_width(column, padded, panel);
  }
  *half = width / 2;
  return column + n - column / 2;
}

}  // namespace

#endif
