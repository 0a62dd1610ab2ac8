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

// The rows of a tile at output column `ox`, whose inputs are `x` elements from the rows' first.
inline Place place_at(const Strip& s, const StripRows& rows, int64_t x, int64_t ox) {
  Place at;
  for (int64_t i = 0; i < tile_lines(s.tiles, rows.count); ++i) at.x[i] = rows.x[i] == nullptr ? nullptr : rows.x[i] + x;
  for (int r = 0; r < rows.count; ++r) {
    at.y[r] = rows.y[r] + ox * s.y_pitch;
    at.residual[r] = rows.residual[r] == nullptr ? nullptr : rows.residual[r] + ox * s.residual_pitch;
  }
  return at;
}

// How many whole tiles from output column `ox` on, of which `outputs` are left, need no padding.
inline int64_t inside_tiles(const Strip& s, const StripRows& rows, int64_t ox, int64_t outputs) {
  const TileSet& tiles = s.tiles;
  const int64_t left = ox * tiles.step - s.pad_left, room = s.w - left - (tiles.kernel - 1) * s.dilation - 1;
  if (rows.count != TILE_ROWS || left < 0 || room < 0) return 0;
  const int64_t fit = room / (tiles.step * s.dilation) + 1;  // outputs
  return (fit < outputs ? fit : outputs) / tiles.columns;
}

// One tile of `columns`, of which `count` are wanted from output column `ox` on, by a micro-kernel that is told where its inputs are.
inline void run_listed(const Strip& s, const StripRows& rows, TileFn tile, int64_t columns, int64_t ox, int64_t count, int64_t begin,
                       int64_t end) {
  const TileSet& tiles = s.tiles;
  const int64_t left = ox * tiles.step - s.pad_left, half = tiles.kernel / 2;
  const int64_t used = (count - 1) * tiles.step + tiles.kernel, inputs = (columns - 1) * tiles.step + tiles.kernel;
  Place at = place_at(s, rows, 0, ox);
  at.count = count;
  for (int64_t i = 0; i < inputs; ++i) {
    if (tile == tiles.border && i == half + 1) i = inputs - half;  // those between follow from the middle one
    const int64_t column = i < used ? pad_index(left + i * s.dilation, s.w, s.pad_mode) : -1;
    at.offsets[i] = column < 0 ? -1 : column * s.x_pitch;
  }
  tile(s.filter, at, begin, end);
}

// `count` output columns from `ox` on, at most a tile's, some of whose inputs may be outside.
inline void run_columns(const Strip& s, const StripRows& rows, int64_t ox, int64_t count, int64_t begin, int64_t end) {
  const TileSet& tiles = s.tiles;
  if (rows.count != TILE_ROWS) return run_listed(s, rows, tiles.single, tiles.columns, ox, count, begin, end);
  const int64_t half = tiles.kernel / 2 * s.dilation, middle = ox * tiles.step - s.pad_left + half;
  const int64_t last = middle + ((count - 1) * tiles.step + tiles.kernel - 1) * s.dilation - 2 * half;
  if (count == tiles.columns && middle >= 0 && last < s.w) return run_listed(s, rows, tiles.border, count, ox, count, begin, end);
  for (int64_t done = 0; done < count; done += tiles.edge_columns) {
    const int64_t wanted = count - done < tiles.edge_columns ? count - done : tiles.edge_columns;
    run_listed(s, rows, tiles.edge, tiles.edge_columns, ox + done * s.dilation, wanted, begin, end);
  }
}

// Channels [begin, end) of the rows, at least TILE_CHANNELS. A last tile starts early and computes some columns again.
inline void run_strip(const Strip& s, const StripRows& rows, int64_t begin, int64_t end) {
  const int64_t columns = s.tiles.columns;
  for (int64_t phase = 0; phase < s.dilation && phase < s.ow; ++phase) {
    const int64_t outputs = (s.ow - phase + s.dilation - 1) / s.dilation;
    for (int64_t done = 0; done < outputs;) {
      const int64_t ox = phase + done * s.dilation, inside = inside_tiles(s, rows, ox, outputs - done);
      if (inside > 0) {
        Place at = place_at(s, rows, (ox * s.tiles.step - s.pad_left) * s.x_pitch, ox);
        at.count = inside;
        s.tiles.inside(s.filter, at, begin, end);
        done += inside * columns;
        continue;
      }
      const int64_t first = done + columns <= outputs ? done : outputs < columns ? 0 : outputs - columns;
      run_columns(s, rows, phase + first * s.dilation, outputs < columns ? outputs : columns, begin, end);
      done += columns;
    }
  }
}

}  // namespace

#endif
