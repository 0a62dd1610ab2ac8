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

// C[mr][n] = f(C, slope, residual), vector by vector. `residual` and `slope` may be NULL: then f gets zeros.
template <class F>
TC_INLINE void finish_with(F f, int mr, int64_t n, const E* slope, const E* residual, int64_t ldr, E* c, int64_t ldc) {
  for (int r = 0; r < mr; ++r, c += ldc) {
    const E* other = residual == nullptr ? nullptr : residual + r * ldr;
    int64_t j = 0;
    for (; j + VL <= n; j += VL) {
      const V s = slope == nullptr ? v_zero() : v_load(slope + j);
      v_store(c + j, f(v_load(c + j), s, other == nullptr ? v_zero() : v_load(other + j)));
    }
    if (j == n) continue;
    const V s = slope == nullptr ? v_zero() : v_load_n(slope + j, n - j);
    v_store_n(c + j, f(v_load_n(c + j, n - j), s, other == nullptr ? v_zero() : v_load_n(other + j, n - j)), n - j);
  }
}

// activation and late residual over C[mr][n], which has just been written and lies in L1.
TC_NOINLINE void finish(const Epilogue& e, int mr, int64_t n, const E* slope, const E* residual, int64_t ldr, E* c, int64_t ldc) {
  if (ldc == n && slope == nullptr && (residual == nullptr || ldr == n)) {  // no gaps: one long row fills the vectors
    n *= mr;
    mr = 1;
  }
  const bool late = late_residual(e.residual_mode);
  if (!late && e.activation == TC_ACTIVATION_HARD_SWISH) {
    return finish_with([](V x, V s, V) TC_LAMBDA_INLINE { return activate(x, s, TC_ACTIVATION_HARD_SWISH, 0.0f, 0.0f); }, mr, n, nullptr,
                       nullptr, 0, c, ldc);
  }
  if (!late && e.activation == TC_ACTIVATION_PRELU) {
    return finish_with([](V x, V s, V) TC_LAMBDA_INLINE { return activate(x, s, TC_ACTIVATION_PRELU, 0.0f, 0.0f); }, mr, n, slope, nullptr,
                       0, c, ldc);
  }
  const int32_t activation = clamps(e.activation) ? (int32_t)TC_ACTIVATION_NONE : e.activation;
  const auto any = [&](V x, V s, V other) TC_LAMBDA_INLINE {
    x = activate(x, s, activation, e.alpha, e.beta);
    return !late ? x : e.residual_mode == TC_RESIDUAL_MUL_AFTER ? v_mul(x, other) : v_add(x, other);
  };
  finish_with(any, mr, n, slope, late ? residual : nullptr, ldr, c, ldc);
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
