// Padding and window rules that conv2d and depthwise_conv2d share.
#ifndef TIERCAST_CONV2D_PADDING_H_
#define TIERCAST_CONV2D_PADDING_H_

#include "simd/activation_rules.h"
#include "simd/checked.h"
#include "tc_enums.h"

namespace {

// Input index of a padded one, -1 for a zero. Pads are below `size` for reflect, so that one reflection suffices.
inline int64_t pad_index(int64_t i, int64_t size, int32_t mode) {
  if (i >= 0 && i < size) return i;
  if (mode == TC_PAD_MODE_REFLECT) return i < 0 ? -i : 2 * (size - 1) - i;
  if (mode == TC_PAD_MODE_REPLICATE) return i < 0 ? 0 : size - 1;
  return -1;
}

// x's height (axis 0) or width as it is convolved: enlarged.
template <class Params>
inline int64_t enlarged(const Params* p, const tc_view& x, int axis) {
  return x.dims[axis + 1] * p->upsample[axis];
}

// NULL when an enlargement is one that the kernels know, of sizes that can be counted.
template <class Params>
inline const char* check_upsample(const Params* p, const tc_view& x) {
  for (int axis = 0; axis < 2; ++axis) {
    const int32_t factor = p->upsample[axis];
    if (factor < 1 || factor > 64 || !within(Checked(x.dims[axis + 1]) * factor, INT32_MAX))
      return "upsample must be 1..64, the enlarged image countable";
  }
  return nullptr;
}

// NULL when kernel, strides, dilations and pads are sound and give y's height and width from the convolved image's.
template <class Params>
inline const char* check_window(const Params* p, const int64_t (&sizes)[2], const tc_view& y) {
  if (p->pad_mode < TC_PAD_MODE_ZERO || p->pad_mode > TC_PAD_MODE_REPLICATE) return "unknown pad_mode";
  for (int axis = 0; axis < 2; ++axis) {
    if (p->kernel[axis] < 1 || p->strides[axis] < 1 || p->dilations[axis] < 1) return "kernel, strides and dilations must be >= 1";
    const int32_t before = p->pads[axis], after = p->pads[axis + 2];
    if (before < 0 || after < 0) return "pads must be >= 0";
    const int64_t size = sizes[axis];
    if (p->pad_mode == TC_PAD_MODE_REFLECT && (before >= size || after >= size)) return "reflect pads must be below the input's size";
    const Checked reach = Checked(p->kernel[axis] - 1) * p->dilations[axis] + 1;
    const Checked padded = Checked(size) + before + after;
    if (!reach.ok || !padded.ok || reach.value > padded.value) return "the kernel is wider than the padded input";
    if (y.dims[axis + 1] != (padded.value - reach.value) / p->strides[axis] + 1) return "output size does not follow from the input's";
  }
  return nullptr;
}

// NULL when the residual operand fits residual_mode and y.
inline const char* check_residual(int32_t mode, const tc_view& residual, const tc_view& y) {
  if (mode < TC_RESIDUAL_NONE || mode > TC_RESIDUAL_MUL_AFTER) return "unknown residual_mode";
  if (mode != TC_RESIDUAL_NONE && (residual.dtype != TC_E || !same_dims(residual, y) || !pitched(residual))) {
    return "residual must be of y's type and shape, channels contiguous";
  }
  return nullptr;
}

// NULL when a gate, if there is one, is one that the kernels know.
template <class Params>
inline const char* check_gate(const Params* p, bool has_slope) {
  if (p->gated != 0 && p->gated != 1) return "gated must be 0 or 1";
  if (p->gated == 0) return nullptr;
  if (p->residual_mode != TC_RESIDUAL_NONE || has_slope) return "a gated convolution takes no residual and no slope";
  if (p->granule < 2) return "a gated convolution takes a granule of 2 or more";
  return valid_activation(p->gate_activation, false) ? nullptr : "unknown gate_activation, or prelu";
}

}  // namespace

#endif
