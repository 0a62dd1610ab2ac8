// What follows the sums of a convolution or GEMM: activation and residual. Include one ISA's header before.
#ifndef TIERCAST_SIMD_EPILOGUE_H_
#define TIERCAST_SIMD_EPILOGUE_H_

#include "simd/activation.h"

namespace {

// Clamping activations and early residuals run in the micro-kernel, all else in `finish`.
struct Epilogue {
  int32_t activation;
  float alpha, beta;
  int32_t residual_mode;
  const E* slope;  // for prelu, padded like bias
};

TC_INLINE bool clamps(int32_t activation) {
  return activation == TC_ACTIVATION_NONE || activation == TC_ACTIVATION_RELU || activation == TC_ACTIVATION_CLIP;
}
TC_INLINE bool late_residual(int32_t mode) { return mode == TC_RESIDUAL_ADD_AFTER || mode == TC_RESIDUAL_MUL_AFTER; }

// activation and late residual over C[mr][n], which has just been written and lies in L1.
TC_NOINLINE void finish(const Epilogue& e, int mr, int64_t n, const E* slope, const E* residual, int64_t ldr, E* c, int64_t ldc) {
  const bool clamped = clamps(e.activation);
  if (ldc == n && slope == nullptr && (residual == nullptr || ldr == n)) {  // no gaps: one long row fills the vectors
    n *= mr;
    mr = 1;
  }
  for (int r = 0; r < mr; ++r) {
    for (int64_t j = 0; j < n; j += VL) {
      const int64_t left = n - j;
      V x = left >= VL ? v_load(c + r * ldc + j) : v_load_n(c + r * ldc + j, left);
      if (!clamped) {
        const V s = slope == nullptr ? v_zero() : left >= VL ? v_load(slope + j) : v_load_n(slope + j, left);
        x = activate(x, s, e.activation, e.alpha, e.beta);
      }
      if (late_residual(e.residual_mode)) {
        const V other = left >= VL ? v_load(residual + r * ldr + j) : v_load_n(residual + r * ldr + j, left);
        x = e.residual_mode == TC_RESIDUAL_MUL_AFTER ? v_mul(x, other) : v_add(x, other);
      }
      if (left >= VL) {
        v_store(c + r * ldc + j, x);
      } else {
        v_store_n(c + r * ldc + j, x, left);
      }
    }
  }
}

// Bounds of the micro-kernel's clamp; infinite where the activation is not one.
inline float clamp_low(const Epilogue& e) {
  return e.activation == TC_ACTIVATION_RELU ? 0.0f : e.activation == TC_ACTIVATION_CLIP ? e.alpha : -HUGE_VALF;
}
inline float clamp_high(const Epilogue& e) { return e.activation == TC_ACTIVATION_CLIP ? e.beta : HUGE_VALF; }

// True when `finish` has something to do.
TC_INLINE bool needs_finish(const Epilogue& e) { return late_residual(e.residual_mode) || !clamps(e.activation); }

}  // namespace

#endif
