// One or two output rows of a depthwise convolution, cut into tiles. Include one ISA's header and define TC_COLUMNS (output columns of a
// tile) first.
#ifndef TIERCAST_DEPTHWISE_CONV2D_STRIP_H_
#define TIERCAST_DEPTHWISE_CONV2D_STRIP_H_

#include "conv2d/padding.h"
#include "depthwise_conv2d/tile.h"

namespace {

// What all strips of a call share. Columns that are `dilation` apart form tiles of their own, in which a dilated kernel is a plain one.
struct Strip {
  Filter filter;
  TileSet tiles;
  int64_t w, ow, dilation, pad_left;
  int64_t x_pitch, y_pitch, residual_pitch;
  int32_t pad_mode;
};

// Input rows (NULL for one of zeros), output rows and their residuals (NULL when there is none), at column and channel 0.
struct StripRows {
  const E* x[MAX_TILE_LINES];
  E* y[TILE_ROWS];
  const E* residual[TILE_ROWS];
  int count;
};

inline int64_t tile_lines(const TileSet& tiles, int rows) { return (rows - 1) * tiles.step + tiles.kernel; }

inline Strip strip_of(Filter filter, int64_t kernel, int64_t step, int64_t w, int64_t ow, int64_t dilation, int64_t pad_left,
                      int32_t pad_mode) {
  Strip s = {};
  s.tiles = choose_tiles(kernel, step, (ow + dilation - 1) / dilation);
  s.w = w;
  s.ow = ow;
  s.dilation = dilation;
  s.pad_left = pad_left;
  s.pad_mode = pad_mode;
  s.x_pitch = filter.x_pitch;
  s.y_pitch = filter.y_pitch;
  s.residual_pitch = filter.residual_pitch;
  filter.x_pitch *= dilation;
  filter.y_pitch *= dilation;
  filter.residual_pitch *= dilation;
  s.filter = filter;
  return s;
}

// The tile whose first output column is `ox`; `count` of its columns are wanted.
inline void run_tile(const Strip& s, const StripRows& rows, int64_t ox, int64_t count, int64_t begin, int64_t end) {
  const TileSet& tiles = s.tiles;
  const int64_t left = ox * tiles.step - s.pad_left;
  const int64_t used = (count - 1) * tiles.step + tiles.kernel;  // input columns
  const bool inside = rows.count == TILE_ROWS && count == tiles.columns && left >= 0 && left + (used - 1) * s.dilation < s.w;
  Place at = {};
  for (int64_t i = 0; i < tile_lines(tiles, rows.count); ++i) {
    at.x[i] = rows.x[i] == nullptr || !inside ? rows.x[i] : rows.x[i] + left * s.x_pitch;
  }
  for (int r = 0; r < rows.count; ++r) {
    at.y[r] = rows.y[r] + ox * s.y_pitch;
    at.residual[r] = rows.residual[r] == nullptr ? nullptr : rows.residual[r] + ox * s.residual_pitch;
  }
  if (inside) return tiles.inside(s.filter, at, begin, end);
  at.count = count;
  for (int64_t i = 0; i < (tiles.columns - 1) * tiles.step + tiles.kernel; ++i) {
    const int64_t column = i < used ? pad_index(left + i * s.dilation, s.w, s.pad_mode) : -1;
    at.offsets[i] = column < 0 ? -1 : column * s.x_pitch;
  }
  const int64_t half = tiles.kernel / 2, last = left + (used - 1 - half) * s.dilation;
  const bool border = count == tiles.columns && left + half * s.dilation >= 0 && last < s.w;
  (rows.count != TILE_ROWS ? tiles.single : border ? tiles.border : tiles.edge)(s.filter, at, begin, end);
}

// Channels [begin, end) of the rows, at least VL. A last tile starts early and computes some columns again.
inline void run_strip(const Strip& s, const StripRows& rows, int64_t begin, int64_t end) {
  const int64_t columns = s.tiles.columns;
  for (int64_t phase = 0; phase < s.dilation && phase < s.ow; ++phase) {
    const int64_t outputs = (s.ow - phase + s.dilation - 1) / s.dilation;
    for (int64_t done = 0; done < outputs; done += columns) {
      const int64_t first = done + columns <= outputs ? done : outputs < columns ? 0 : outputs - columns;
      run_tile(s, rows, phase + first * s.dilation, outputs < columns ? outputs : columns, begin, end);
    }
  }
}

}  // namespace

#endif
