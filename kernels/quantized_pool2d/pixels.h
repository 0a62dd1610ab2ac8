// quantized_pool2d, pixel by pixel, by what has been included before:
//   pool_max(taps, n, to)
//   add_taps(taps, n, start, sums)   sums of n channels, each from `start` on
//   requantize_sums(sums, n, scale, limits, to)
#ifndef TIERCAST_QUANTIZED_POOL2D_PIXELS_H_
#define TIERCAST_QUANTIZED_POOL2D_PIXELS_H_

#include "quantized_pool2d/taps.h"

namespace {

// The integer nearest to sum / count, its halves up or away from zero. A double is exact: count is below 2^41, the quotient below 2^9.
int32_t mean(int32_t sum, double half, double count, bool up) {
  const double raised = 256.0 * count;  // up: what is truncated is above zero
  const double shifted = up ? (double)sum + raised + half : (double)sum + (sum > 0 ? half : -half);
  return (int32_t)(shifted / count) - (up ? 256 : 0);
}

// A product that is rounded before anything is added to it: kernels are compiled such that a * b + c may be one fma.
float product(float a, float b) {
  volatile float made = a * b;
  return made;
}

// What the stored integers are above the s8 that hold them.
int32_t offset_of(const tc_quantized_pool2d_params& p) { return p.rounding == TC_MEAN_ROUNDING_BIASED_U8 ? 128 : 0; }

bool biased(const tc_quantized_pool2d_params& p) {
  return p.rounding == TC_MEAN_ROUNDING_BIASED || p.rounding == TC_MEAN_ROUNDING_BIASED_U8;
}

// sums: of the stored integers.
void store_biased(const int32_t* sums, int64_t n, const tc_quantized_pool2d_params& p, int64_t count, int8_t* to) {
  const int32_t offset = offset_of(p);
  const float scale = product(p.scale, 1.0f / (float)count);
  const float bias = (float)(p.y_zero + offset) - product((float)(count * (p.x_zero + offset)), scale);
  const Limits limits = {0, p.low + offset, p.high + offset};
  for (int64_t c = 0; c < n; ++c) to[c] = (int8_t)(rounded(product((float)sums[c], scale) + bias, limits) - offset);
}

void pool_average(const Taps& taps, int64_t n, const tc_quantized_pool2d_params& p, int64_t count, const Limits& limits, int8_t* to) {
  int32_t sums[RUN];
  const int32_t shift = biased(p) ? offset_of(p) : -p.x_zero;
  add_taps(taps, n, wrapping_product((int32_t)(taps.rows * taps.cols), shift), sums);
  if (p.rounding == TC_MEAN_ROUNDING_EVEN) {
    requantize_sums(sums, n, p.scale / (float)count, limits, to);
    return;
  }
  if (biased(p)) {
    store_biased(sums, n, p, count, to);
    return;
  }
  const double half = (double)(count / 2);
  const bool up = p.rounding == TC_MEAN_ROUNDING_UP;
  for (int64_t c = 0; c < n; ++c) {
    const int32_t made = mean(sums[c], half, (double)count, up) + limits.zero;
    to[c] = (int8_t)(made < limits.low ? limits.low : made > limits.high ? limits.high : made);
  }
}

int64_t work(const tc_call* call) { return call->outputs[0].dims[0] * call->outputs[0].dims[1]; }

// One item is one output row.
void run(const tc_call* call, int64_t begin, int64_t end) {
  const tc_quantized_pool2d_params& p = *static_cast<const tc_quantized_pool2d_params*>(call->params);
  const tc_view& x = call->inputs[0];
  const tc_view& y = call->outputs[0];
  const Limits limits = {p.y_zero, p.low, p.high};
  for (int64_t item = begin; item < end; ++item) {
    const int64_t batch = item / y.dims[1], row = item % y.dims[1];
    const int8_t* image = static_cast<const int8_t*>(x.data) + batch * x.strides[0];
    const Window rows = window_of(p, 0, row, x.dims[1]);
    int8_t* to = static_cast<int8_t*>(y.data) + batch * y.strides[0] + row * y.strides[1];
    for (int64_t col = 0; col < y.dims[2]; ++col, to += y.strides[2]) {
      const Window cols = window_of(p, 1, col, x.dims[2]);
      const bool empty = rows.begin == rows.end || cols.begin == cols.end;  // then no address is formed
      const int64_t top = rows.start + rows.begin * p.dilations[0], left = cols.start + cols.begin * p.dilations[1];
      Taps taps = {empty ? image : image + top * x.strides[1] + left * x.strides[2], empty ? 0 : rows.end - rows.begin,
                   empty ? 0 : cols.end - cols.begin, p.dilations[0] * x.strides[1], p.dilations[1] * x.strides[2]};
      const int64_t count = larger(1, rows.counted * cols.counted);
      // A last run of few channels goes back over some that are done, so that it fills a vector.
      const int64_t channels = x.dims[3];
      const int8_t* const first = taps.first;
      for (int64_t run = 0; run < channels; run += RUN) {
        const int64_t c = channels - run < FEW && channels >= FEW ? channels - FEW : run, n = smaller(RUN, channels - c);
        taps.first = first + c;
        if (p.kind == TC_POOL_KIND_MAX) {
          pool_max(taps, n, to + c);
        } else {
          pool_average(taps, n, p, count, limits, to + c);
        }
      }
    }
  }
}

}  // namespace

#endif
