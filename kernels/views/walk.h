// Lines along the last axis, one after the other, in up to three views at once: offsets go on by additions, not by a division for each
// axis of each line, which costs more than a short line itself.
#ifndef TIERCAST_VIEWS_WALK_H_
#define TIERCAST_VIEWS_WALK_H_

#include "views/rules.h"

namespace {

template <int VIEWS>
struct Walk {
  int32_t axes;  // all but the last
  int64_t dims[TC_MAX_RANK], at[TC_MAX_RANK];
  int64_t steps[VIEWS][TC_MAX_RANK];
  int64_t offset[VIEWS];  // of the present line's first element
};

// At line `item` of y; every view broadcasts to y: its dims are y's, or 1.
template <int VIEWS>
inline Walk<VIEWS> walk_from(const tc_view* const (&views)[VIEWS], const tc_view& y, int64_t item) {
  Walk<VIEWS> walk = {};
  walk.axes = y.rank > 0 ? y.rank - 1 : 0;
  for (int32_t i = walk.axes - 1; i >= 0; --i) {
    walk.dims[i] = y.dims[i];
    walk.at[i] = item % y.dims[i];
    item /= y.dims[i];
    for (int v = 0; v < VIEWS; ++v) {
      walk.steps[v][i] = views[v]->dims[i] == 1 ? 0 : views[v]->strides[i];
      walk.offset[v] += walk.at[i] * walk.steps[v][i];
    }
  }
  return walk;
}

template <int VIEWS>
inline void next_line(Walk<VIEWS>& walk) {
  for (int32_t i = walk.axes - 1; i >= 0; --i) {
    for (int v = 0; v < VIEWS; ++v) walk.offset[v] += walk.steps[v][i];
    if (++walk.at[i] < walk.dims[i]) return;
    for (int v = 0; v < VIEWS; ++v) walk.offset[v] -= walk.steps[v][i] * walk.dims[i];
    walk.at[i] = 0;
  }
}

// How many lines, at most `most`, follow each other along the inner axis, `step_along` elements apart in view v.
template <int VIEWS>
inline int64_t lines_along(const Walk<VIEWS>& walk, int64_t most) {
  return walk.axes == 0 ? 1 : smaller(most, walk.dims[walk.axes - 1] - walk.at[walk.axes - 1]);
}
template <int VIEWS>
inline int64_t step_along(const Walk<VIEWS>& walk, int v) {
  return walk.axes == 0 ? 0 : walk.steps[v][walk.axes - 1];
}

// Past `lines` such lines.
template <int VIEWS>
inline void pass_lines(Walk<VIEWS>& walk, int64_t lines) {
  if (walk.axes > 0) {
    walk.at[walk.axes - 1] += lines - 1;
    for (int v = 0; v < VIEWS; ++v) walk.offset[v] += (lines - 1) * walk.steps[v][walk.axes - 1];
  }
  next_line(walk);
}

}  // namespace

#endif
