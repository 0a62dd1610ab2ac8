// What follows the sums of a convolution or GEMM: activation and residual. Include one ISA's header before.
#ifndef TIERCAST_SIMD_EPILOGUE_H_
#define TIERCAST_SIMD_EPILOGUE_H_

#include "simd/activation.h"
#include "simd/copy_floats.h"

namespace {

// Clamping activations and early residuals run in the micro-kernel, all else in `finish`.
struct Epilogue {
  int32_t activation;
  float alpha, beta;
  int32_t residual_mode;
  const E* slope;  // for prelu, padded like bias
};

// What multiplies features: sums of their own behind an activation that needs no slope.
struct Gate {
  int32_t activation;
  float alpha, beta;
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

enum { CHUNK = 8 };  // vectors that a smooth activation takes at a time

// Calls use(vectors, count) for the vectors of [mr][n] in turn, CHUNK at most; a vector is its row, its first column and what is left of
// it.
struct Piece {
  int row;
  int64_t column, left;
};
template <class F>
TC_INLINE void in_chunks(int mr, int64_t n, F use) {
  Piece pieces[CHUNK];
  int count = 0;
  for (int r = 0; r < mr; ++r) {
    for (int64_t j = 0; j < n; j += VL) {
      pieces[count++] = {r, j, n - j};
      if (count < CHUNK) continue;
      use(pieces, count);
      count = 0;
    }
  }
  if (count > 0) use(pieces, count);
}

// C = smooth activation(C), then times or plus the residual, where `residual` is not NULL.
inline void finish_smooth(const Epilogue& e, int mr, int64_t n, const E* residual, int64_t ldr, E* c, int64_t ldc) {
  in_chunks(mr, n, [&](const Piece* pieces, int count) TC_LAMBDA_INLINE {
    V x[CHUNK];
    for (int i = 0; i < count; ++i) x[i] = load_piece(c + pieces[i].row * ldc + pieces[i].column, pieces[i].left);
    activate_smooth(x, count, e.activation, e.alpha);
    for (int i = 0; i < count; ++i) {
      const Piece& at = pieces[i];
      if (residual != nullptr) {
        const V other = load_piece(residual + at.row * ldr + at.column, at.left);
        x[i] = e.residual_mode == TC_RESIDUAL_MUL_AFTER ? v_mul(x[i], other) : v_add(x[i], other);
      }
      store_piece(c + at.row * ldc + at.column, x[i], at.left);
    }
  });
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
  if (is_smooth(e.activation)) return finish_smooth(e, mr, n, late ? residual : nullptr, ldr, c, ldc);
  const int32_t activation = clamps(e.activation) ? (int32_t)TC_ACTIVATION_NONE : e.activation;
  const auto any = [&](V x, V s, V other) TC_LAMBDA_INLINE {
    x = activate(x, s, activation, e.alpha, e.beta);
    return !late ? x : e.residual_mode == TC_RESIDUAL_MUL_AFTER ? v_mul(x, other) : v_add(x, other);
  };
  finish_with(any, mr, n, slope, late ? residual : nullptr, ldr, c, ldc);
}

TC_INLINE void activate_all(V* x, int count, int activation, float alpha, float beta) {
  if (is_smooth(activation)) return activate_smooth(x, count, activation, alpha);
  for (int i = 0; i < count; ++i) x[i] = activate(x[i], v_zero(), activation, alpha, beta);
}

// y[mr][n] = activation(features) * gate(gates) of sums [mr][2 * half]: features, from column `half` on their gates.
TC_NOINLINE void finish_gated(const Epilogue& e, const Gate& gate, int mr, int64_t n, const E* sums, int64_t half, E* y, int64_t ldy) {
  in_chunks(mr, n, [&](const Piece* pieces, int count) TC_LAMBDA_INLINE {
    V x[CHUNK], gates[CHUNK];
    for (int i = 0; i < count; ++i) {
      const E* at = sums + pieces[i].row * 2 * half + pieces[i].column;
      x[i] = load_piece(at, pieces[i].left);
      gates[i] = load_piece(at + half, pieces[i].left);
    }
    activate_all(x, count, e.activation, e.alpha, e.beta);
    activate_all(gates, count, gate.activation, gate.alpha, gate.beta);
    for (int i = 0; i < count; ++i) store_piece(y + pieces[i].row * ldy + pieces[i].column, v_mul(x[i], gates[i]), pieces[i].left);
  });
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
