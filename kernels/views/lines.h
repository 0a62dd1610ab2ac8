// An elementwise call as lines that are contiguous in all of its views: pieces of the whole where all are dense, else their last axis.
#ifndef TIERCAST_VIEWS_LINES_H_
#define TIERCAST_VIEWS_LINES_H_

#include "views/rules.h"

namespace {

struct Lines {
  int64_t count, length, total;
  bool whole;
};

// Of x and y, equal in shape.
inline Lines lines_of(const tc_view& x, const tc_view& y) {
  const int64_t total = count_of(x), length = x.rank > 0 ? x.dims[x.rank - 1] : 1;
  if (dense(x) && dense(y)) return {blocks_of(total, 4096), 4096, total, true};
  return {total / length, length, total, false};
}

// First element of line `item` in a view.
inline int64_t line_offset(const Lines& lines, const tc_view& v, int64_t item) {
  return lines.whole ? item * lines.length : offset_of(v, item * lines.length);
}

inline int64_t line_length(const Lines& lines, int64_t item) { return smaller(lines.length, lines.total - item * lines.length); }

}  // namespace

#endif
