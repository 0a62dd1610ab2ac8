// quantized_binary line by line, by the `combine` that has been included before.
#ifndef TIERCAST_QUANTIZED_BINARY_LINES_H_
#define TIERCAST_QUANTIZED_BINARY_LINES_H_

#include "quantized_binary/results.h"
#include "views/lines.h"
#include "views/walk.h"

namespace {

// Where all of it lies densely and nothing repeats, pieces of the whole are lines.
Lines binary_lines(const tc_call* call) {
  const tc_view& y = call->outputs[0];
  if (same_dims(call->inputs[0], y) && same_dims(call->inputs[1], y) && dense(call->inputs[0]) && dense(call->inputs[1])) {
    return lines_of(call->inputs[0], y);
  }
  const int64_t total = count_of(y), length = y.dims[y.rank - 1];
  return {total / length, length, total, false};
}

// A line too short for vectors: what they need before and after costs more than they spare.
template <class F>
TC_INLINE void combine_few(const F& f, const int8_t* a, int64_t a_step, const int8_t* b, int64_t b_step, int8_t* y, int64_t n) {
#pragma GCC unroll 1
  for (int64_t i = 0; i < n; ++i, a += a_step, b += b_step) y[i] = f(*a, *b);
}

template <class F>
void run_all(const F& f, const tc_call* call, int64_t begin, int64_t end) {
  const tc_view& y = call->outputs[0];
  const tc_view& a = call->inputs[0];
  const tc_view& b = call->inputs[1];
  const int8_t* from[2] = {static_cast<const int8_t*>(a.data), static_cast<const int8_t*>(b.data)};
  int8_t* to = static_cast<int8_t*>(y.data);
  const Lines lines = binary_lines(call);
  if (lines.whole) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t at = item * lines.length;
      combine(f, from[0] + at, 1, from[1] + at, 1, to + at, line_length(lines, item));
    }
    return;
  }
  const int64_t last = y.rank - 1, a_step = a.dims[last] == y.dims[last] ? 1 : 0, b_step = b.dims[last] == y.dims[last] ? 1 : 0;
  const tc_view* const views[3] = {&a, &b, &y};
  Walk<3> walk = walk_from(views, y, begin);
  for (int64_t item = begin; item < end; ++item, next_line(walk)) {
    const int8_t* left = from[0] + walk.offset[0];
    const int8_t* right = from[1] + walk.offset[1];
    if (lines.length < 16) {
      combine_few(f, left, a_step, right, b_step, to + walk.offset[2], lines.length);
    } else {
      combine(f, left, a_step, right, b_step, to + walk.offset[2], lines.length);
    }
  }
}

int64_t work(const tc_call* call) { return binary_lines(call).count; }

void run(const tc_call* call, int64_t begin, int64_t end) {
  const tc_quantized_binary_params& p = *static_cast<const tc_quantized_binary_params*>(call->params);
  if (p.kind == TC_QUANTIZED_BINARY_KIND_MUL) {
    run_all(Mul{p.a_zero, p.b_zero, p.scale, (float)(p.low - p.y_zero), (float)(p.high - p.y_zero), p.y_zero}, call, begin, end);
    return;
  }
  const int32_t offset = wrapping_product(-1, wrapping_sum(wrapping_product(p.a_zero, p.a_factor), wrapping_product(p.b_zero, p.b_factor)));
  const int32_t even = p.rounding == TC_HALF_ROUNDING_EVEN ? 1 : 0;
  const int32_t half = p.shift > 0 ? (1 << (p.shift - 1)) - even : 0;  // a shift of 0 rounds nothing
  if (p.shift > 0) {
    run_all(Add{p.a_factor, p.b_factor, offset, p.shift, half, even, p.y_zero, p.low, p.high}, call, begin, end);
  } else {
    run_all(Add{wrapping_product(p.a_factor, 2), wrapping_product(p.b_factor, 2), wrapping_product(offset, 2), 1, 0, 1, p.y_zero, p.low,
                p.high},
            call, begin, end);
  }
}

}  // namespace

#endif
